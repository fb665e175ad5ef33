import type { FinetuneProgress, FinetuneResult, WebModel } from 'ddrc/web';
import { byId, make, percent, save, sentence } from './dom.ts';
import type { ResultTable } from './results.ts';

const partNames = { head: 'last layer only', all: 'all layers' } as const;

/** Fewest pictures that are worth learning from. */
const fewest = 2;

/** The panel in which the model learns from the pictures whose class is known. */
export class LearnPanel {
  private running: AbortController | null = null;
  /** Whether the weights are being changed, or the pictures classified by new ones. */
  private busy = false;
  private readonly losses: number[] = [];
  private most = 0;

  constructor(
    private readonly model: WebModel,
    private readonly table: ResultTable,
    /** Classifies all pictures anew. */
    private readonly again: () => Promise<void>,
    /** Told when a learning begins or ends. */
    private readonly turned: () => void,
  ) {
    const { parts } = model.info;
    byId('learn').hidden = byId('to-learn').hidden = parts.length === 0;
    byId('part').append(...parts.map((part) => make('option', { value: part }, partNames[part])));
    byId<HTMLFormElement>('learn-form').onsubmit = (event) => {
      event.preventDefault();
      void this.learn();
    };
    byId('stop').onclick = () => {
      this.running?.abort();
      this.say('stopping…');
    };
    byId('undo').onclick = () => void this.undo();
    byId('save-weights').onclick = () =>
      void this.saved(async () => this.keep('weights.safetensors', await model.exportWeights()));
    byId('save-model').onclick = () => void this.saved(async () => this.keep('model.onnx', await model.exportOnnx()));
    this.refresh();
  }

  /** Whether something was learned that was saved nowhere. */
  unsaved = false;

  /** Whether the model is learning: what else is asked of it waits for the end. */
  get learning(): boolean {
    return this.running !== null;
  }

  /** To be called when pictures or their classes have changed. */
  refresh(): void {
    const labelled = this.labelled();
    const counts = this.model.info.classes.map(
      (name) => `${name} ${labelled.filter((picture) => picture.class === name).length}`,
    );
    const classes = new Set(labelled.map((picture) => picture.class)).size;
    const one =
      classes === 1 ? '; all are of one class, and a model that learns from one class alone may come to say nothing else' : '';
    byId('labelled').textContent = `${labelled.length} pictures with a known class: ${counts.join(', ')}${one}`;
    byId<HTMLButtonElement>('start').disabled = this.busy || labelled.length < fewest;
    for (const id of ['undo', 'save-weights', 'save-model']) byId<HTMLButtonElement>(id).disabled = this.busy;
    byId('stop').hidden = !this.learning;
    byId('undo').hidden = this.model.undoable === 0;
  }

  private labelled() {
    const known = this.table.results.filter(({ classification, label }) => classification !== null && label !== null);
    return known.map(({ file, label }) => ({ image: file, class: label! }));
  }

  private learn(): Promise<void> {
    const value = (id: string) => byId<HTMLInputElement>(id).valueAsNumber;
    const options = {
      part: byId<HTMLSelectElement>('part').value as 'head' | 'all',
      epochs: value('epochs'),
      batch: value('batch'),
      learningRate: value('rate'),
    };
    this.losses.length = this.most = 0;
    const running = new AbortController();
    this.running = running;
    // The button that was pressed cannot be pressed now; who works by keyboard is at the one that can.
    queueMicrotask(() => byId('stop').focus());
    return this.change('preparing…', async () => {
      const result = await this.model.finetune(this.labelled(), {
        ...options,
        onProgress: (progress) => this.progressed(progress),
        signal: running.signal,
      });
      return outcome(result);
    });
  }

  /** Does something that changes the weights, classifies all pictures anew, and says what became of it. */
  private async change(text: string, work: () => Promise<string>): Promise<void> {
    this.busy = true;
    this.refresh();
    this.turned();
    this.say(text);
    try {
      const said = await work();
      this.running = null;
      this.unsaved = this.model.undoable > 0;
      this.refresh();
      this.turned();
      this.say(`${said}; classifying the pictures again…`);
      await this.again();
      this.say(said);
    } catch (error) {
      this.say(sentence(error));
    } finally {
      this.running = null;
      this.busy = false;
      this.refresh();
      this.turned();
      if (document.activeElement === document.body) byId('start').focus();
    }
  }

  private progressed({ step, steps, loss }: FinetuneProgress): void {
    if (step === 1) this.say('learning…');
    this.losses.push(loss);
    byId('curve').hidden = false;
    this.most = Math.max(this.most, loss);
    // No more points than the curve is wide.
    const every = Math.ceil(steps / 600);
    const points = this.losses.flatMap((each, i) =>
      i % every === 0 ? [`${((i + 0.5) / steps) * 600},${155 - (each / (this.most || 1)) * 150}`] : [],
    );
    byId<SVGPolylineElement>('curve-line').setAttribute('points', points.join(' '));
    byId('curve-text').textContent =
      `Loss of each step, from 0 to ${this.most.toPrecision(3)}: step ${step} of ${steps}, ${loss.toPrecision(3)}`;
  }

  private undo(): Promise<void> {
    return this.change('taking back…', async () => {
      await this.model.undo();
      return 'the weights are as before the last learning';
    });
  }

  private async saved(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.say(sentence(error));
    }
  }

  private keep(name: string, content: Uint8Array): void {
    save(name, content, 'application/octet-stream');
    this.unsaved = false;
  }

  private say(text: string): void {
    byId('learned').textContent = text;
  }
}

function outcome({ steps, finished, trained, before, after }: FinetuneResult): string {
  if (steps === 0) return 'stopped before anything was learned';
  const did = `${finished ? 'learned' : 'stopped'} after ${steps} steps on ${trained} pictures`;
  if (!before || !after) return `${did}; too few pictures to hold some back and compare`;
  return `${did}; of ${before.images} held back, ${percent(before.accuracy)} were right before and ${percent(after.accuracy)} are now`;
}
