import type { FinetuneProgress, FinetuneResult, WebModel } from 'ddrc/web';
import { byId, make, percent, save, sentence } from './dom.ts';
import type { ResultTable } from './results.ts';

const partNames = { head: 'the last layer (quick)', all: 'all layers' } as const;

/** Fewest pictures that can be learned from. */
const fewest = 2;

/** The panel in which the model learns from the pictures whose class is known. */
export class LearnPanel {
  private running: AbortController | null = null;
  private readonly losses: number[] = [];

  constructor(
    private readonly model: WebModel,
    private readonly table: ResultTable,
    /** Classifies all pictures anew. */
    private readonly again: () => Promise<void>,
  ) {
    const { parts } = model.info;
    byId('learn').hidden = parts.length === 0;
    byId('part').append(...parts.map((part) => make('option', { value: part }, partNames[part])));
    byId<HTMLFormElement>('learn-form').onsubmit = (event) => {
      event.preventDefault();
      void this.learn();
    };
    byId('stop').onclick = () => this.running?.abort();
    byId('undo').onclick = () => void this.undo();
    byId('save-weights').onclick = () =>
      void this.saved(async () => save('weights.safetensors', await model.exportWeights(), 'application/octet-stream'));
    byId('save-model').onclick = () =>
      void this.saved(async () => save('model.onnx', await model.exportOnnx(), 'application/octet-stream'));
    this.refresh();
  }

  /** To be called when pictures or their classes have changed. */
  refresh(): void {
    const labelled = this.labelled();
    const counts = this.model.info.classes.map(
      (name) => `${name} ${labelled.filter((picture) => picture.class === name).length}`,
    );
    byId('labelled').textContent = `${labelled.length} pictures with a known class: ${counts.join(', ')}`;
    byId<HTMLButtonElement>('start').disabled = this.running !== null || labelled.length < fewest;
  }

  private labelled() {
    const known = this.table.results.filter(({ classification, label }) => classification !== null && label !== null);
    return known.map(({ file, label }) => ({ image: file, class: label! }));
  }

  private async learn(): Promise<void> {
    const value = (id: string) => byId<HTMLInputElement>(id).valueAsNumber;
    const options = {
      part: byId<HTMLSelectElement>('part').value as 'head' | 'all',
      epochs: value('epochs'),
      batch: value('batch'),
      learningRate: value('rate'),
    };
    this.running = new AbortController();
    this.losses.length = 0;
    this.refresh();
    byId('stop').hidden = false;
    this.say('preparing…');
    try {
      const result = await this.model.finetune(this.labelled(), {
        ...options,
        onProgress: (progress) => this.progressed(progress),
        signal: this.running.signal,
      });
      byId('undo').hidden = false;
      await this.again();
      this.say(outcome(result));
    } catch (error) {
      this.say(sentence(error));
    } finally {
      this.running = null;
      byId('stop').hidden = true;
      this.refresh();
    }
  }

  private progressed({ step, steps, loss }: FinetuneProgress): void {
    this.losses.push(loss);
    byId('curve').hidden = false;
    const most = Math.max(...this.losses);
    const points = this.losses.map((each, i) => `${((i + 0.5) / steps) * 600},${155 - (each / most) * 150}`);
    byId<SVGPolylineElement>('curve-line').setAttribute('points', points.join(' '));
    byId('curve-text').textContent =
      `Loss of each step, from 0 to ${most.toPrecision(3)}: step ${step} of ${steps}, ${loss.toPrecision(3)}`;
  }

  private async undo(): Promise<void> {
    await this.model.undo();
    byId('undo').hidden = true;
    await this.again();
    this.say('the weights are as before the last learning');
  }

  private async saved(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.say(sentence(error));
    }
  }

  private say(text: string): void {
    byId('learned').textContent = text;
  }
}

function outcome({ steps, finished, trained, before, after }: FinetuneResult): string {
  const did = `${finished ? 'learned' : 'stopped'} after ${steps} steps on ${trained} pictures`;
  if (!before || !after) return `${did}; too few pictures to hold some back and compare`;
  return `${did}; of ${before.images} held back, ${percent(before.accuracy)} were right before and ${percent(after.accuracy)} are now`;
}
