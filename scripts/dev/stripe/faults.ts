/** The endpoints by what they do. */
export type Operation =
  | 'token.grant'
  | 'token.retrieve'
  | 'token.revoke'
  | 'payment.create'
  | 'payment.retrieve'
  | 'payment.capture'
  | 'payment.cancel'
  | 'payment.list'
  | 'payment.search'
  | 'session.create'
  | 'session.retrieve'
  | 'session.expire'
  | 'charge.retrieve'
  | 'transaction.retrieve'
  | 'transaction.list'
  | 'balance.retrieve'
  | 'refund.create';

export type Fault = {
  operation: Operation;
  /**
   * Before the request has any effect; when it had its whole effect and the answer is under way; or in its
   * midst, without effect, and the error is kept as the answer for its idempotency key.
   */
  when: 'before' | 'after' | 'kept';
  /** How often; until cleared when left out. */
  times?: number;
  /** A status to answer with in place of a broken connection; what is kept is a 500 unless said. */
  status?: number;
};

/** Switches for what goes wrong between a caller and Stripe. */
export type Faults = {
  add(fault: Fault): void;
  /** Every answer of an operation takes this long, its effect first. */
  delay(operation: Operation, ms: number): void;
  /** How long search does not know of a new payment. */
  searchLag(ms: number): void;
  clear(): void;
};

export type FaultSwitches = Faults & {
  take(operation: Operation, when: Fault['when']): Fault | undefined;
  delayOf(operation: Operation): number;
  searchLagMs(): number;
};

export function createFaults(): FaultSwitches {
  let faults: (Fault & { times: number })[] = [];
  const delays = new Map<Operation, number>();
  let lagMs = 0;
  return {
    add(fault) {
      faults.push({ ...fault, times: fault.times ?? Number.POSITIVE_INFINITY });
    },
    delay: (operation, ms) => void delays.set(operation, ms),
    searchLag(ms) {
      lagMs = ms;
    },
    clear() {
      faults = [];
      delays.clear();
      lagMs = 0;
    },
    take(operation, when) {
      const fault = faults.find(
        (each) => each.operation === operation && each.when === when && each.times > 0,
      );
      if (fault) fault.times--;
      return fault;
    },
    delayOf: (operation) => delays.get(operation) ?? 0,
    searchLagMs: () => lagMs,
  };
}
