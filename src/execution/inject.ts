import type { Code, Jail } from './backend.ts';

/** The line a bootstrap writes once it waits for code. */
export const READY_LINE = 'millicent-ready';

/**
 * Pushes a server into a jail whose bootstrap waits: eight hex digits with the length of a JSON order, the order,
 * the archive. Everything after that belongs to the server. The bootstrap unpacks the archive into `/mcp`,
 * makes it read-only, puts the layer where the runtime looks, and becomes the server.
 */
export function injectCode(jail: Pick<Jail, 'stdin'>, code: Code): void {
  const order = Buffer.from(
    JSON.stringify({
      runtime: code.runtime,
      entrypoint: code.entrypoint,
      bytes: code.archive.length,
      layer: code.layer?.sha256 ?? null,
    }),
  );
  const length = order.length.toString(16).padStart(8, '0');
  // What is written behind it in the same turn, the first words to the server, goes out with it.
  jail.stdin.cork();
  jail.stdin.write(Buffer.concat([Buffer.from(length), order]));
  jail.stdin.write(code.archive);
  process.nextTick(() => jail.stdin.uncork());
}
