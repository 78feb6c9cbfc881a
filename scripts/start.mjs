/**
 * Starts the gateway from one bundle of its sources, which loads in a quarter of the time that 500 modules take one by
 * one. The bundle is made by the first start and named after everything it is made of, so that another version of the
 * sources is another bundle; where none can be made, the sources themselves run. Plain JavaScript, because what would
 * translate it is what takes the time.
 */

import { createHash, randomUUID } from 'node:crypto';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { patchPackages } from './patches.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SOURCES = join(ROOT, 'src');
const MAIN = join(SOURCES, 'main.ts');
/** Below `node_modules`, so that what stays outside of the bundle is found. */
const CACHE = join(ROOT, 'node_modules/.cache/millicent');
const PREFIX = 'gateway-';
const MANIFEST = 'manifest.json';
/** What else decides how the bundle comes out; the lockfile stands for the bundler. */
const OTHERS = ['package-lock.json', 'tsconfig.json', 'scripts/start.mjs'];
/** A running gateway may still load a part of its bundle. */
const KEPT_MS = 30 * 24 * 3_600_000;

if (!patchPackages(ROOT)) {
  console.error(
    'start: patches/ could not be put into the packages: run npx patch-package as the user who owns them',
  );
  process.exit(1);
}
const program = await prepareProgram().catch((cause) => {
  console.error(`start: running from the sources, as no bundle could be made of them: ${cause.message}`);
});
if (program) process.setSourceMapsEnabled(true);
else (await import('tsx/esm/api')).register();
await import(pathToFileURL(program ?? MAIN).href);

/** The bundle of the sources as they are. */
async function prepareProgram() {
  const folder = join(CACHE, PREFIX + hashSources());
  if (!isWhole(folder)) await makeBundle(folder);
  const now = new Date();
  utimesSync(folder, now, now);
  return join(folder, 'main.mjs');
}

function hashSources() {
  const hash = createHash('sha256').update(process.version);
  const names = readdirSync(SOURCES, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(ROOT, join(entry.parentPath ?? entry.path, entry.name)));
  for (const name of [...OTHERS, ...names.sort()]) {
    const content = readFileSync(join(ROOT, name));
    hash.update(`${name}\0${content.length}\0`).update(content);
  }
  // Names of folders are written into the bundle.
  return hash.update(ROOT).digest('hex').slice(0, 32);
}

/** Whether every file of it is as it was made: a machine that lost its power may have the names without the contents. */
function isWhole(folder) {
  try {
    const files = Object.entries(JSON.parse(readFileSync(join(folder, MANIFEST), 'utf8')));
    return (
      files.length > 0 &&
      files.every(([name, sha256]) => sha256Of(readFileSync(join(folder, name))) === sha256)
    );
  } catch {
    return false;
  }
}

async function makeBundle(folder) {
  // The one that tsx brings: it is there wherever the sources can run.
  const { build } = createRequire(createRequire(import.meta.url).resolve('tsx/package.json'))('esbuild');
  const draft = join(CACHE, `draft-${randomUUID()}`);
  try {
    const { outputFiles } = await build({
      ...{ entryPoints: [MAIN], outdir: folder, outExtension: { '.js': '.mjs' }, write: false },
      ...{
        bundle: true,
        splitting: true,
        platform: 'node',
        format: 'esm',
        target: `node${process.versions.node}`,
      },
      ...{ packages: 'external', sourcemap: 'linked', sourcesContent: false, logLevel: 'silent' },
      plugins: [{ name: 'own-places', setup: keepPlaces }],
    });
    mkdirSync(draft, { recursive: true });
    const files = outputFiles.map(({ path, contents }) => [basename(path), contents]);
    for (const [name, contents] of files) writeFileSync(join(draft, name), contents);
    const manifest = Object.fromEntries(files.map(([name, contents]) => [name, sha256Of(contents)]));
    writeFileSync(join(draft, MANIFEST), JSON.stringify(manifest));
    dropOld(folder);
    // Renamed into place: who starts at the same time finds a whole one or none, or has put the same one there.
    renameSync(draft, folder);
  } catch (cause) {
    rmSync(draft, { recursive: true, force: true });
    if (!isWhole(folder)) throw cause;
  }
}

/** Sources ask for their own place, for what lies beside them: it stays the one that they were written in. */
function keepPlaces(build) {
  build.onLoad({ filter: /\.ts$/, namespace: 'file' }, ({ path }) => {
    if (!path.startsWith(SOURCES)) return undefined;
    const contents = readFileSync(path, 'utf8')
      .replaceAll('import.meta.dirname', JSON.stringify(dirname(path)))
      .replaceAll('import.meta.filename', JSON.stringify(path))
      .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href));
    return { contents, loader: 'ts', resolveDir: dirname(path) };
  });
}

/** Bundles that nobody has started for long, and what is in the place of the new one but is not whole. */
function dropOld(broken) {
  rmSync(broken, { recursive: true, force: true });
  for (const name of readdirSync(CACHE)) {
    const path = join(CACHE, name);
    const isOurs = name.startsWith(PREFIX);
    if (isOurs && Date.now() - statSync(path).mtimeMs > KEPT_MS)
      rmSync(path, { recursive: true, force: true });
  }
}

function sha256Of(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}
