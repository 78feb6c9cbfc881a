import { randomBytes } from 'node:crypto';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../../../core/log.ts';
import { Problem } from '../../../core/problem.ts';
import type { Exit, Jail, JailSpec } from '../../backend.ts';
import { compileSeccomp } from '../../policy/seccomp.ts';
import type { Cgroup, Cgroups } from './cgroup.ts';
import { startJail } from './jail.ts';
import { launchArguments } from './launch.ts';
import type { LayerStore } from './layer-store.ts';
import { findLeakedFds } from './leaked-fds.ts';
import type { Programs } from './programs.ts';
import type { RootShelf } from './root-shelf.ts';
import { chooseFirstUid, type Slots } from './slots.ts';

/** Everything that starting a jail takes. */
export type LauncherParts = {
  programs: Programs;
  roots: RootShelf;
  layers: LayerStore;
  /** Undefined where there are none that we may use. */
  cgroups: Cgroups | undefined;
  ownerId: string;
  /** This gateway's folder. */
  folder: string;
  slots: Slots;
  /** Every jail of which something may be left. */
  jails: Map<string, Jail>;
  /** Once it is aborted nothing starts any more. */
  closing: AbortSignal;
  log: Log;
};

export type Launcher = {
  readonly cgroups: Cgroups | undefined;
  readonly roots: RootShelf;
  /** `onGone` hears of the jail's end once nothing of it is left. */
  start(spec: JailSpec, onGone: (exit: Exit) => void): Promise<Jail>;
};

/** Ready to start jails: the filter is on disk, and the descriptors that would leak are known. */
export async function createLauncher(parts: LauncherParts): Promise<Launcher> {
  const firstUid = process.getuid?.() === 0 ? chooseFirstUid() : undefined;
  const seccompFile = await writeFilter(parts);
  const leakedFds = findLeakedFds();
  return {
    cgroups: parts.cgroups,
    roots: parts.roots,
    async start(spec, onGone) {
      parts.closing.throwIfAborted();
      const root = parts.roots.choose(spec.runtime, spec.rootSha256);
      if (root === undefined) throw notOffered(spec);
      const slot = parts.slots.lease();
      if (slot === undefined) throw tooMany();
      const uid = firstUid === undefined ? undefined : firstUid + slot;
      const place = openPlace(parts);
      try {
        place.layer = spec.layer && (await parts.layers.lease(spec.layer));
        await makePlace(place, parts, spec);
        const jail = startJail({
          ...place,
          shell: parts.programs.sh,
          arguments: launchArguments({
            programs: parts.programs,
            root,
            limits: spec.limits,
            layer: spec.layer && place.layer && { sha256: spec.layer.sha256, folder: place.layer.folder },
            egressSocket: spec.egressSocket,
            anchor: place.anchor,
            joinFiles: place.cgroup?.joinFiles ?? [],
            uid,
          }),
          seccompFile,
          leakedFds,
          log: parts.log,
          onGone: (exit) => {
            parts.jails.delete(place.id);
            place.layer?.release();
            parts.slots.release(slot);
            onGone(exit);
          },
        });
        parts.jails.set(jail.id, jail);
        return jail;
      } catch (error) {
        await place.cgroup?.destroy();
        await rm(place.folder, { recursive: true, force: true });
        place.layer?.release();
        parts.slots.release(slot);
        throw error;
      }
    },
  };
}

/** Without control groups a jail must not fork, nor hold memory that RLIMIT_AS does not see. */
async function writeFilter({ folder, cgroups }: LauncherParts): Promise<string> {
  const arch = process.arch;
  if (arch !== 'x64' && arch !== 'arm64') throw new Error(`The sandbox knows no system calls of ${arch}.`);
  const isCapped = cgroups !== undefined;
  const path = join(folder, isCapped ? 'seccomp' : 'seccomp-without-fork');
  await writeFile(path, compileSeccomp({ arch, fork: isCapped, memfd: isCapped }), { mode: 0o600 });
  return path;
}

/** Where one jail's things are. */
type Place = {
  id: string;
  folder: string;
  anchor: string;
  statusFile: string;
  cgroup: Cgroup | undefined;
  layer: { folder: string; release(): void } | undefined;
};

function openPlace({ ownerId, folder, cgroups }: LauncherParts): Place {
  const id = `${ownerId}.${randomBytes(8).toString('hex')}`;
  const jailFolder = join(folder, id);
  return {
    id,
    folder: jailFolder,
    anchor: join(jailFolder, 'anchor'),
    statusFile: join(jailFolder, 'status'),
    cgroup: cgroups?.open(id),
    layer: undefined,
  };
}

async function makePlace(place: Place, { cgroups }: LauncherParts, spec: JailSpec): Promise<void> {
  await mkdir(place.anchor, { recursive: true });
  for (const folder of [place.folder, place.anchor]) await chmod(folder, 0o711);
  await cgroups?.create(place.id, spec.limits);
}

function notOffered({ runtime }: JailSpec): Problem {
  return new Problem('unavailable', {
    detail: `This sandbox does not run ${runtime === 'node' ? 'Node' : runtime}.`,
    retryAfterSeconds: 60,
    isUncharged: true,
  });
}

function tooMany(): Problem {
  return new Problem('unavailable', {
    detail: 'Every sandbox slot is taken.',
    retryAfterSeconds: 1,
    isUncharged: true,
  });
}
