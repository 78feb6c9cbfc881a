/** A way out of one jail: a proxy on a unix socket that reaches the given hosts and nothing else. */
export type EgressGate = {
  /** The proxy's socket on this machine, for `JailSpec.egressSocket`. */
  socketPath: string;
  /** Ends every connection through it; what went through, and which hosts were asked for in vain. */
  close(): Promise<EgressUse>;
};

export type EgressUse = {
  bytesUp: number;
  bytesDown: number;
  /** Hosts that were refused, each once, a bounded number of them. */
  refused: string[];
};

/** Opens gates for calls whose tool declares hosts and whose caller consents to the network. */
export type Egress = {
  /** `hosts` are exact names, each `name` or `name:port`. */
  openEgress(input: { hosts: readonly string[] }): Promise<EgressGate>;
};
