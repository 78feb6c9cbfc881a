import { startDevelopment } from './stack.ts';

/** `npm run dev`: the gateway with everything embedded, until it is told to stop. */
const stack = await startDevelopment({ env: process.env, output: 'inherit' }).catch((cause: unknown) => {
  console.error(`The gateway could not be started: ${cause instanceof Error ? cause.message : cause}`);
  process.exit(1);
});
console.log(`\nMillicent is ready at ${stack.info.url}`);
console.log(`What a client needs (admin key, funded wallet, token) is in ${stack.infoPath}`);

let isStopping = false;
const stop = async () => {
  if (isStopping) return;
  isStopping = true;
  await stack.close();
  process.exit(0);
};
process.on('SIGINT', stop);
process.on('SIGTERM', stop);
stack.exited.then((code) => {
  if (isStopping) return;
  console.error(`The gateway ended by itself (code ${code}).`);
  stack.close().finally(() => process.exit(1));
});
