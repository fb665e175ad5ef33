import { openModel, type WebModel } from 'ddrc/web';
import { useCamera } from './camera.ts';
import { byId, save, sentence } from './dom.ts';
import { type ChosenFile, chosen, classOf, dropped } from './files.ts';
import { LearnPanel } from './learn.ts';
import { type Result, ResultTable } from './results.ts';

const status = (text: string) => {
  byId('status').textContent = text;
};

function problem(text: string): void {
  const place = byId('problem');
  place.textContent = text;
  place.hidden = text === '';
}

/** Connects the page's controls with an open model. */
function connect(model: WebModel): void {
  let panel: LearnPanel | null = null;
  const table = new ResultTable(model, () => panel?.refresh());
  // Pictures are taken one after the other, in the order in which they were given.
  let queue: Promise<void> = Promise.resolve();
  let waiting = 0;
  let done = 0;
  /** Counts how often all was cleared: what was given before that is dropped. */
  let round = 0;
  const showProgress = () => {
    const bar = byId<HTMLProgressElement>('progress');
    bar.hidden = waiting === done;
    bar.max = waiting;
    bar.value = done;
    const until = panel?.learning ? '; it goes on when the learning has ended' : '';
    status(waiting === done ? 'ready' : `${done} of ${waiting} pictures classified${until}`);
    if (waiting === done) waiting = done = 0;
  };
  const classified = async (result: Result) => {
    try {
      result.classification = await model.classify(result.file);
      result.problem = null;
    } catch (error) {
      result.classification = null;
      result.problem = sentence(error);
    }
  };
  /** Classifies a picture when its turn comes, and shows it. */
  const enqueue = (result: Result, show: (result: Result) => void) => {
    const given = round;
    waiting++;
    queue = queue.then(async () => {
      try {
        if (given === round) await classified(result);
        if (given === round) show(result);
      } catch (error) {
        problem(sentence(error));
      }
      done++;
      showProgress();
    });
  };
  const take = (files: readonly ChosenFile[]) => {
    if (files.length === 0) problem('there are no pictures in what was chosen');
    else problem('');
    for (const { file, path } of files) {
      const result: Result = { file, name: path, classification: null, problem: null, label: classOf(path, model.info.classes) };
      enqueue(result, () => {
        table.add(result);
        panel?.refresh();
      });
    }
    showProgress();
  };
  const again = async () => {
    for (const result of table.results.filter((each) => each.classification)) enqueue(result, () => table.update(result));
    showProgress();
    await queue;
  };
  panel = new LearnPanel(model, table, again);
  const files = byId<HTMLInputElement>('files');
  const folder = byId<HTMLInputElement>('folder');
  for (const [button, input] of [
    ['choose-files', files],
    ['choose-folder', folder],
  ] as const) {
    byId(button).onclick = () => input.click();
    input.onchange = () => {
      take(chosen(input.files));
      // The same choice again is to be a change, too.
      input.value = '';
    };
  }
  const drop = byId('drop');
  document.ondragover = (event) => {
    event.preventDefault();
    drop.classList.add('over');
  };
  document.ondragleave = () => drop.classList.remove('over');
  document.ondrop = async (event) => {
    event.preventDefault();
    drop.classList.remove('over');
    try {
      if (event.dataTransfer) take(await dropped(event.dataTransfer));
    } catch (error) {
      problem(`what was dropped cannot be read: ${sentence(error)}`);
    }
  };
  useCamera((picture) => take([{ file: picture, path: picture.name }]), problem);
  byId('save-csv').onclick = () => save('results.csv', table.csv(), 'text/csv');
  byId('clear').onclick = () => {
    round++;
    table.clear();
  };
}

function describe({ info }: WebModel): void {
  const { model, classes, device, threads, size } = info;
  document.title = `${model} · ddrc`;
  byId('title').textContent = model;
  byId('about').textContent = `tells ${classes.length} classes apart: ${classes.join(', ')}`;
  const where = device === 'webgpu' ? 'on WebGPU' : `on the processor, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
  byId('engine').textContent = `ONNX Runtime ${where}; pictures of ${size} × ${size} pixels`;
}

if ('serviceWorker' in navigator) {
  // Without one, or where storage is full, the page works as long as there is a connection.
  navigator.serviceWorker.register(new URL('./sw.js', document.baseURI)).catch(() => {});
}

try {
  const asked = new URLSearchParams(location.search).get('device');
  const model = await openModel({ device: asked === 'wasm' || asked === 'webgpu' ? asked : 'auto' });
  describe(model);
  connect(model);
  status('ready');
} catch (error) {
  status('the model could not be loaded');
  problem(sentence(error));
}
