import { openModel, type WebModel } from 'ddrc/web';
import { useCamera } from './camera.ts';
import { byId, save, sentence } from './dom.ts';
import { type Chosen, chosen, classOf, dropped, passedOverSentence } from './files.ts';
import { LearnPanel } from './learn.ts';
import { Queue } from './queue.ts';
import { type Result, ResultTable } from './results.ts';

const status = (text: string) => {
  byId('status').textContent = text;
};

function problem(text: string): void {
  const place = byId('problem');
  place.textContent = text;
  place.hidden = text === '';
}

/** Takes what is dropped anywhere: before there is a model, and where none could be loaded, the browser would leave the page for a dropped picture. */
function onDrop(take: (transfer: DataTransfer) => Promise<void>): void {
  const drop = byId('drop');
  document.ondragover = (event) => {
    event.preventDefault();
    drop.classList.add('over');
  };
  document.ondragleave = () => drop.classList.remove('over');
  document.ondrop = async (event) => {
    event.preventDefault();
    drop.classList.remove('over');
    if (event.dataTransfer) await take(event.dataTransfer);
  };
}

/** Connects the page's controls with an open model. */
function connect(model: WebModel): void {
  let panel: LearnPanel | null = null;
  const table = new ResultTable(model, () => panel?.refresh());
  const queue = new Queue(model, status, () => panel?.learning ?? false, problem);
  const take = ({ files, passedOver }: Chosen) => {
    const others = passedOver.length > 0 ? passedOverSentence(passedOver) : '';
    problem(others === '' && files.length === 0 ? 'there are no pictures in what was chosen' : others);
    for (const { file, path } of files) {
      const result: Result = { file, name: path, classification: null, problem: null, label: classOf(path, model.info.classes) };
      queue.add(result, () => {
        table.add(result);
        panel?.refresh();
      });
    }
    queue.showProgress();
  };
  const again = async () => {
    for (const result of table.results.filter((each) => each.classification)) queue.add(result, () => table.update(result));
    await queue.ended();
  };
  panel = new LearnPanel(model, table, again, () => queue.showProgress());
  for (const name of ['files', 'folder'] as const) {
    const [button, input] = [byId<HTMLButtonElement>(`choose-${name}`), byId<HTMLInputElement>(name)];
    button.disabled = false;
    button.onclick = () => input.click();
    input.onchange = () => {
      take(chosen(input.files));
      // The same choice again is to be a change, too.
      input.value = '';
    };
  }
  onDrop(async (transfer) => {
    try {
      take(await dropped(transfer));
    } catch (error) {
      problem(`what was dropped cannot be read: ${sentence(error)}`);
    }
  });
  useCamera((picture) => take({ files: [{ file: picture, path: picture.name }], passedOver: [] }), problem);
  byId('save-csv').onclick = () => save('results.csv', table.csv(), 'text/csv');
  byId('clear').onclick = () => {
    const labelled = table.results.filter(({ label }) => label !== null).length;
    if (labelled > 0 && !confirm(`Forget all pictures, and the classes of ${labelled} of them?`)) return;
    queue.drop();
    table.clear();
  };
  addEventListener('beforeunload', (event) => {
    if (panel.unsaved) event.preventDefault();
  });
}

function describe({ info }: WebModel): void {
  const { model, classes, device, threads, size } = info;
  document.title = `${model} · ddrc`;
  byId('title').textContent = model;
  byId('about').textContent = `tells ${classes.length} classes apart: ${classes.join(', ')}`;
  const where = device === 'webgpu' ? 'on WebGPU' : `on the processor, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
  byId('engine').textContent = `ONNX Runtime ${where}; pictures of ${size} × ${size} pixels`;
}

function keepOffline(): void {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return;
  const before = serviceWorker.controller;
  serviceWorker.addEventListener('controllerchange', () => {
    if (before) problem('there is a newer version of this site: reload the page to use it');
  });
  // Without one, or where storage is full, the page works as long as there is a connection.
  serviceWorker.register(new URL('./sw.js', document.baseURI)).catch(() => {});
}

status('loading the model…');
if (!isSecureContext)
  byId('limits').textContent =
    'This address is not secure (no https), so browsers allow no learning and no camera here, and keep nothing for when there is no connection.';
keepOffline();
onDrop(async () => problem('the model is not loaded: nothing can be classified yet'));
try {
  const asked = new URLSearchParams(location.search).get('device');
  const model = await openModel({ device: asked === 'wasm' || asked === 'webgpu' ? asked : 'auto' });
  describe(model);
  connect(model);
  problem('');
  status('ready');
} catch (error) {
  status('the model could not be loaded');
  problem(sentence(error));
}
