import { byId, sentence } from './dom.ts';

/** The camera: shows what it sees and gives pictures to `take`. */
export function useCamera(take: (picture: File) => void, failed: (text: string) => void): void {
  const view = byId<HTMLVideoElement>('camera-view');
  const panel = byId('camera');
  let stream: MediaStream | null = null;
  let count = 0;
  const close = () => {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    view.srcObject = null;
    panel.hidden = true;
  };
  byId('use-camera').onclick = async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
      view.srcObject = stream;
      panel.hidden = false;
      await view.play();
    } catch (error) {
      close();
      failed(`the camera cannot be used: ${sentence(error)}`);
    }
  };
  byId('camera-close').onclick = close;
  byId('camera-take').onclick = async () => {
    const canvas = new OffscreenCanvas(view.videoWidth, view.videoHeight);
    canvas.getContext('2d')!.drawImage(view, 0, 0);
    const blob = await canvas.convertToBlob({ type: 'image/png' });
    count++;
    take(new File([blob], `camera-${count}.png`, { type: 'image/png' }));
  };
}
