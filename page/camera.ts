import { byId, sentence } from './dom.ts';

/** The camera: shows what it sees and gives pictures to `take`. */
export function useCamera(take: (picture: File) => void, failed: (text: string) => void): void {
  const view = byId<HTMLVideoElement>('camera-view');
  const panel = byId('camera');
  const [use, shoot] = [byId<HTMLButtonElement>('use-camera'), byId<HTMLButtonElement>('camera-take')];
  // There are no cameras where the page comes by plain HTTP from another machine.
  if (!navigator.mediaDevices) return;
  use.hidden = false;
  let stream: MediaStream | null = null;
  let count = 0;
  const close = () => {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    view.srcObject = null;
    panel.hidden = true;
    use.disabled = false;
  };
  use.onclick = async () => {
    // One stream at a time; and there is nothing to take before its first frame.
    use.disabled = shoot.disabled = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
      for (const track of stream.getTracks()) {
        track.onended = () => {
          close();
          failed('the camera was taken away');
        };
      }
      failed('');
      view.srcObject = stream;
      panel.hidden = false;
      await view.play();
      shoot.disabled = false;
      shoot.focus();
    } catch (error) {
      // Whoever closes the camera before it plays knows.
      const closed = !use.disabled;
      close();
      if (!closed) failed(`the camera cannot be used: ${sentence(error)}`);
    }
  };
  byId('camera-close').onclick = () => {
    close();
    use.focus();
  };
  shoot.onclick = async () => {
    try {
      const canvas = new OffscreenCanvas(view.videoWidth, view.videoHeight);
      canvas.getContext('2d')!.drawImage(view, 0, 0);
      const blob = await canvas.convertToBlob({ type: 'image/png' });
      count++;
      take(new File([blob], `camera-${count}.png`, { type: 'image/png' }));
    } catch (error) {
      failed(`no picture could be taken: ${sentence(error)}`);
    }
  };
}
