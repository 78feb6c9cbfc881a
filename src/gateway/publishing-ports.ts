import type { Uuid } from '../core/ids.ts';

/** What a build of dependencies came to. `log` is for the publisher alone. */
export type Build =
  /** The code declares none. */
  | { kind: 'none' }
  /** `bytes` is the size of the layer's archive. */
  | { kind: 'built'; layerSha256: string; bytes: number; log: string }
  /** `detail` is public, and a whole sentence that names the line to change. */
  | { kind: 'refused'; detail: string; log: string };

/** Installs what a publisher's code depends on, once, when a version is published. */
export type Builder = {
  build(
    input: {
      language: 'python' | 'node' | 'go';
      files: ReadonlyMap<string, Uint8Array>;
      /** Nobody's builds take all the turns. */
      publisherId?: string;
    },
    signal: AbortSignal,
  ): Promise<Build>;
};

/** Who asks to sell an endpoint. */
export type EndpointClaim = { publisherId: Uuid; endpointUrl: string };

/** Whether a publisher rules the endpoint it wants to sell. */
export type Ownership = {
  /** What is to be served where; the same for the same publisher and endpoint, every time. */
  challengeFor(publisherId: Uuid, endpointUrl: string): { url: string; body: string };
  /** Looks whether it is served. `detail` is public, and a whole sentence. */
  prove(
    claim: EndpointClaim,
    signal: AbortSignal,
  ): Promise<{ kind: 'proven' } | { kind: 'unproven'; detail: string }>;
};
