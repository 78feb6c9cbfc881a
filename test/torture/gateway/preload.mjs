/**
 * Runs in a gateway of the storm before anything of ours: lets its clock be shifted, and changes what is imported
 * where it is a mutant. JavaScript, as it comes before tsx does.
 */
import { register } from 'node:module';
import { MessageChannel } from 'node:worker_threads';

let offsetMs = 0;
const RealDate = Date;
const now = () => RealDate.now() + offsetMs;

// The wall clock alone jumps: timers and `performance.now` are monotonic on a real machine, too.
globalThis.Date = new Proxy(RealDate, {
  construct: (target, given, self) => Reflect.construct(target, given.length === 0 ? [now()] : given, self),
  apply: () => new RealDate(now()).toString(),
  get: (target, name) => (name === 'now' ? now : Reflect.get(target, name)),
});

process.on('message', (message) => {
  if (message?.kind === 'clock') offsetMs = message.offsetMs;
});

// Nobody is left to stop it.
process.on('disconnect', () => process.exit(1));

const { TORTURE_MUTANT: text } = process.env;
if (text !== undefined) {
  const { port1, port2 } = new MessageChannel();
  port1.on('message', (file) => process.send?.({ kind: 'mutated', file }));
  port1.unref();
  const data = { pieces: JSON.parse(text), port: port2 };
  register('./mutate.mjs', import.meta.url, { data, transferList: [port2] });
}
