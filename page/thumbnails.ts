import { drawPicture } from './attention.ts';
import { make } from './dom.ts';

/** Small pictures of files, each drawn when it first comes near what is seen: a list may be long. */
export class Thumbnails {
  private readonly files = new WeakMap<Element, Blob>();
  private readonly observer = new IntersectionObserver((entries) => this.seen(entries), { rootMargin: '200px' });

  of(file: Blob): HTMLCanvasElement {
    const canvas = make('canvas', { className: 'thumbnail', width: 96, height: 96 });
    this.files.set(canvas, file);
    this.observer.observe(canvas);
    return canvas;
  }

  /** Forgets all that were not drawn. */
  clear(): void {
    this.observer.disconnect();
  }

  private seen(entries: readonly IntersectionObserverEntry[]): void {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      this.observer.unobserve(target);
      drawPicture(target as HTMLCanvasElement, this.files.get(target)!).catch(() => target.remove());
    }
  }
}
