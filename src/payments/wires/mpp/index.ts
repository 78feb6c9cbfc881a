export { createMppWire, type MppWireDeps } from './mpp-wire.ts';
