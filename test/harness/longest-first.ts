import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files of minutes: begun last, one of them would run on alone while the other workers have nothing left to do. */
const LONGEST = /\/test\/(?:torture|bench)\//;

/** The usual order, but for the longest files: in a fresh clone nothing tells Vitest which those are. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLongest = ({ moduleId }: TestSpecification) => LONGEST.test(moduleId);
    return [...sorted.filter(isLongest), ...sorted.filter((file) => !isLongest(file))];
  }
}
