/** A witness that halts around its write, so that it can be killed there: prints "kept" or "asked" and hangs. */

import { readFile } from 'node:fs/promises';
import { systemClock } from '../../../src/core/clock.ts';
import { silentLog } from '../../../src/core/log.ts';
import { createNoteSigner, KEY_TYPES, parseVkey } from '../../../src/provenance/log/vkey.ts';
import { serveWitness } from '../../../src/provenance/witness/server.ts';
import { openWitnessFolder } from '../../../src/provenance/witness/state-folder.ts';
import { createWitness } from '../../../src/provenance/witness/witness.ts';

const [, , folder = '', keyPath = '', name = '', log = '', mode = ''] = process.argv;
const privateKeyPem = await readFile(keyPath, 'utf8');
const signer = createNoteSigner({ name, privateKeyPem, type: KEY_TYPES.cosignature });
const store = await openWitnessFolder({ folder, vkey: signer.vkey, isKeyNew: false });
const halt = (where: string) => {
  console.log(JSON.stringify(where));
  return new Promise<never>(() => {});
};
const witness = await createWitness({
  ...{ signer, logs: [parseVkey(log)], clock: systemClock, onFork: () => {} },
  store: {
    ...store,
    async write(origin, note) {
      if (mode === 'before') await halt('asked');
      await store.write(origin, note);
      await halt('kept');
    },
  },
});
const server = await serveWitness({ witness, log: silentLog }, { host: '127.0.0.1', port: 0 });
console.log(JSON.stringify(server.url));
