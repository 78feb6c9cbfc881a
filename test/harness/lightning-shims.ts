/**
 * The APIs of the nodes that a gateway may receive through, spelled as their vendors do and served by a real
 * node: what an adapter does to them really moves money between two nodes.
 */

export { type ClnShim, startClnShim } from './lightning-shim-cln.ts';
export { type LnbitsShim, startLnbitsShim } from './lightning-shim-lnbits.ts';
export { type LndShim, startLndShim } from './lightning-shim-lnd.ts';
export { type PhoenixdShim, startPhoenixdShim } from './lightning-shim-phoenixd.ts';
