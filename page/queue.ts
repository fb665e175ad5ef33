import type { WebModel } from 'ddrc/web';
import { byId, sentence } from './dom.ts';
import type { Result } from './results.ts';

/** Classifies pictures one after the other, in the order in which they were given, and shows how far it is. */
export class Queue {
  private last: Promise<void> = Promise.resolve();
  private waiting = 0;
  private done = 0;
  /** Counts how often all was dropped. */
  private round = 0;

  /**
   * @param show how far it is
   * @param isLearning whether the model has to be waited for
   */
  constructor(
    private readonly model: WebModel,
    private readonly show: (text: string) => void,
    private readonly isLearning: () => boolean,
    private readonly failed: (text: string) => void,
  ) {}

  /** Classifies a picture when its turn comes, and then calls `shown`. */
  add(result: Result, shown: () => void): void {
    const given = this.round;
    this.waiting++;
    this.last = this.last.then(async () => {
      try {
        if (given === this.round) await this.classify(result);
        if (given === this.round) shown();
      } catch (error) {
        this.failed(sentence(error));
      }
      this.done++;
      this.showProgress();
    });
  }

  /** Forgets what still waits. */
  drop(): void {
    this.round++;
  }

  /** Resolves when all that was given so far is done. */
  async ended(): Promise<void> {
    this.showProgress();
    await this.last;
  }

  showProgress(): void {
    const bar = byId<HTMLProgressElement>('progress');
    const idle = this.waiting === this.done;
    bar.hidden = idle;
    bar.max = this.waiting;
    bar.value = this.done;
    const learning = this.isLearning();
    const until = learning ? '; it goes on when the learning has ended' : '';
    if (idle) this.show(learning ? 'the model is learning' : 'ready');
    else this.show(`${this.done} of ${this.waiting} pictures classified${until}`);
    if (idle) this.waiting = this.done = 0;
  }

  private async classify(result: Result): Promise<void> {
    try {
      result.classification = await this.model.classify(result.file);
      result.problem = null;
    } catch (error) {
      result.classification = null;
      result.problem = sentence(error);
    }
  }
}
