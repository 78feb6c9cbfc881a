import type { LoadAnswer, LoadGenerator, LoadRequest } from './load.ts';
import { readTreeCpuMicros } from './process-cpu.ts';
import type { ServerProcess } from './server-process.ts';

/** What one run of load cost the server, and how quick it was. */
export type HttpSample = { answers: number; cpuMicros: number; perSecond: number };

export type MeasureInput = {
  server: ServerProcess;
  generator: LoadGenerator;
  request: Omit<LoadRequest, 'url'>;
  expects: 'answers' | 'refusals';
  /** Told what the callers saw, before it is judged. */
  counted?(load: LoadAnswer): void;
  /** Resolves once the server has done what its answers left to do. */
  settled?(): Promise<void>;
};

/** One run: the CPU of the server and its workers, from the first request until nothing is left of the last. */
export async function measureLoad(input: MeasureInput): Promise<HttpSample> {
  const { server, generator, request, expects } = input;
  const before = readTreeCpuMicros(server.pid);
  const load = await generator.run({ ...request, url: `${server.url}/v1/example` });
  input.counted?.(load);
  await input.settled?.();
  const spent = readTreeCpuMicros(server.pid) - before;
  const wrong = expects === 'answers' ? load.refused : load.answers - load.refused;
  if (wrong > 0 || load.broken > 0 || load.answers === 0) {
    throw new Error(`${load.answers} answers, ${wrong} of them not as they should be, ${load.broken} broken`);
  }
  return { answers: load.answers, cpuMicros: spent / load.answers, perSecond: load.perSecond };
}
