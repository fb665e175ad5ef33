import { existsSync } from 'node:fs';
import { beforeEach } from 'vitest';
import { probe } from '../../runtime/providers.ts';

/** Where Chromium's package for Linux has its software adapter. */
const softwareAdapters = ['/usr/lib/chromium/vk_swiftshader_icd.json', '/usr/lib64/chromium-browser/vk_swiftshader_icd.json'];

/** The graphics adapter for WebGPU if one works, otherwise Chromium's software adapter, for this process and those it starts; or why there is none. */
async function findAdapter(): Promise<string | null> {
  const { works, reason } = await probe('webgpu', 120_000);
  if (works) return null;
  const file = softwareAdapters.find((path) => existsSync(path));
  if (file && process.env.VK_ICD_FILENAMES === undefined) {
    process.env.VK_ICD_FILENAMES = file;
    if ((await probe('webgpu', 120_000)).works) return null;
    delete process.env.VK_ICD_FILENAMES;
  }
  return (
    `webgpu does not work here: ${reason}; install a Vulkan driver, or the package chromium, ` +
    "and set VK_ICD_FILENAMES to its vk_swiftshader_icd.json if that isn't in /usr/lib/chromium"
  );
}

const missing = await findAdapter();

/** Skips the tests of a file, with the reason, where WebGPU does not work. */
export function needsWebgpu(): void {
  beforeEach((context) => {
    if (missing !== null) context.skip(missing);
  });
}
