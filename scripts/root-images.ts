/**
 * Builds the root file systems of jails from this machine's Python and Node as OCI images, for registries:
 *
 *   npx tsx scripts/root-images.ts <folder>
 *
 * writes an OCI image layout for each into <folder> (`crane push <folder>/python-<hash> <repository>:python-<hash>` takes
 * it as it is), `roots.json` for KUBERNETES_ROOTS, in which older roots stay behind the new ones, and the seccomp profile
 * for the nodes. The same machine makes the same images.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { systemClock } from '../src/core/clock.ts';
import { silentLog } from '../src/core/log.ts';
import { createRootArchives } from '../src/execution/backends/docker/root-archives.ts';
import { spellDockerProfile } from '../src/execution/policy/docker-profile.ts';
import type { BuiltRoot } from '../src/execution/policy/roots/build-root.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';
const ARCHITECTURE = process.arch === 'arm64' ? 'arm64' : 'amd64';

const [given] = process.argv.slice(2);
if (given === undefined) throw new Error('usage: npx tsx scripts/root-images.ts <folder>');
const folder = resolve(given);
await mkdir(folder, { recursive: true });
const archives = createRootArchives({ workDir: join(folder, '.work'), clock: systemClock, log: silentLog });
const listed: { sha256: string }[] = [];
for (const plan of await archives.plan()) {
  await archives.use(plan, async (root, archive) => {
    const digest = await writeImage(root, archive);
    const { kind, version, command, environment, prlimit, sha256 } = root;
    listed.push({ ...{ kind, version, command, environment, prlimit, sha256 }, ...{ digest } });
    const name = `${kind}-${sha256}`;
    process.stdout.write(`crane push ${join(folder, name)} $KUBERNETES_IMAGE:${name}\n`);
  });
}
await rm(join(folder, '.work'), { recursive: true, force: true });
await writeRoots();
const profile = spellDockerProfile(process.arch === 'arm64' ? 'arm64' : 'x64');
await writeFile(join(folder, 'seccomp.json'), profile);
process.stdout.write(`KUBERNETES_ROOTS=${join(folder, 'roots.json')}\n`);

/** Older roots stay: versions that were published on them go on running on them. */
async function writeRoots(): Promise<void> {
  const path = join(folder, 'roots.json');
  const before: { sha256: string }[] = await readFile(path, 'utf8').then(JSON.parse, () => []);
  const older = before.filter(({ sha256 }) => !listed.some((root) => root.sha256 === sha256));
  await writeFile(path, `${JSON.stringify([...listed, ...older], null, 2)}\n`);
}

/** One image as an OCI image layout (image-spec, "Image Layout Specification"); answers the manifest's digest. */
async function writeImage(root: BuiltRoot, archive: NodeJS.ReadableStream): Promise<string> {
  const target = join(folder, `${root.kind}-${root.sha256}`);
  const made = await mkdtemp(join(folder, '.image-'));
  const blobs = join(made, 'blobs/sha256');
  await mkdir(blobs, { recursive: true });
  const tar = createHash('sha256');
  archive.on('data', (piece: Buffer) => tar.update(piece));
  const layerPath = join(made, 'layer');
  // Without a time in its header: the same content, the same digest.
  await pipeline(archive, createGzip({ level: 6 }), createWriteStream(layerPath));
  const layer = { mediaType: LAYER, ...(await describeFile(layerPath)) };
  await rename(layerPath, join(blobs, layer.digest.slice('sha256:'.length)));
  const config = await writeBlob(blobs, CONFIG, {
    architecture: ARCHITECTURE,
    os: 'linux',
    config: {
      User: '65534:65534',
      WorkingDir: '/tmp',
      Env: Object.entries(root.environment).map(([name, value]) => `${name}=${value}`),
      Cmd: root.command,
      Labels: { 'millicent.root': root.sha256, 'millicent.version': root.version },
    },
    rootfs: { type: 'layers', diff_ids: [`sha256:${tar.digest('hex')}`] },
  });
  const manifest = await writeBlob(blobs, MANIFEST, {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config,
    layers: [layer],
  });
  await writeFile(join(made, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const index = {
    schemaVersion: 2,
    manifests: [{ ...manifest, platform: { architecture: ARCHITECTURE, os: 'linux' } }],
  };
  await writeFile(join(made, 'index.json'), JSON.stringify(index));
  await rm(target, { recursive: true, force: true });
  await rename(made, target);
  return manifest.digest;
}

async function writeBlob(blobs: string, mediaType: string, value: object) {
  const bytes = Buffer.from(JSON.stringify(value));
  const hex = createHash('sha256').update(bytes).digest('hex');
  await writeFile(join(blobs, hex), bytes);
  return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
}

async function describeFile(path: string) {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece);
  return { digest: `sha256:${hash.digest('hex')}`, size: (await stat(path)).size };
}
