export { startTempo, type Tempo, type TempoOptions } from '../../scripts/dev/tempo.ts';
