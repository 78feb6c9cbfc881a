import { integer } from './fields.ts';

const PER_SECOND_MAX = 1_000_000;
const BURST_MAX = 10_000_000;

/** How fast callers may call, and how much of them is taken at once. */
export const trafficEnvironment = {
  RATE_KEY_PER_SECOND: integer(2_000, 0, PER_SECOND_MAX),
  RATE_KEY_BURST: integer(10_000, 1, BURST_MAX),
  RATE_PAYER_PER_SECOND: integer(2_000, 0, PER_SECOND_MAX),
  RATE_PAYER_BURST: integer(10_000, 1, BURST_MAX),
  RATE_ADDRESS_PER_SECOND: integer(2_000, 0, PER_SECOND_MAX),
  RATE_ADDRESS_BURST: integer(10_000, 1, BURST_MAX),
  RATE_WRONG_KEYS_PER_SECOND: integer(5, 0, PER_SECOND_MAX),
  RATE_WRONG_KEYS_BURST: integer(100, 1, BURST_MAX),
  CONNECTIONS_MAX: integer(10_000, 1, 1_000_000),
  CONNECTIONS_PER_ADDRESS_MAX: integer(2_000, 1, 1_000_000),
  REQUESTS_IN_FLIGHT_MAX: integer(2_048, 1, 1_000_000),
  EVENT_LOOP_DELAY_MAX_MS: integer(500, 0, 60_000),
};

type TrafficEnvironment = Record<keyof typeof trafficEnvironment, number>;
type Rate = { perSecond: number; burst: number };

export type TrafficConfig = {
  /** A rate of 0 is no limit. */
  rates: Record<'key' | 'payer' | 'address' | 'wrong-keys', Rate>;
  /** What the server takes before anything is read. */
  server: {
    connectionsMax: number;
    connectionsPerAddressMax: number;
    inFlightMax: number;
    /** 0 switches the guard off. */
    loopDelayMaxMs: number;
  };
};

export function readTraffic(env: TrafficEnvironment): TrafficConfig {
  return {
    rates: {
      key: { perSecond: env.RATE_KEY_PER_SECOND, burst: env.RATE_KEY_BURST },
      payer: { perSecond: env.RATE_PAYER_PER_SECOND, burst: env.RATE_PAYER_BURST },
      address: { perSecond: env.RATE_ADDRESS_PER_SECOND, burst: env.RATE_ADDRESS_BURST },
      'wrong-keys': { perSecond: env.RATE_WRONG_KEYS_PER_SECOND, burst: env.RATE_WRONG_KEYS_BURST },
    },
    server: {
      connectionsMax: env.CONNECTIONS_MAX,
      connectionsPerAddressMax: env.CONNECTIONS_PER_ADDRESS_MAX,
      inFlightMax: env.REQUESTS_IN_FLIGHT_MAX,
      loopDelayMaxMs: env.EVENT_LOOP_DELAY_MAX_MS,
    },
  };
}
