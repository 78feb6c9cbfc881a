import { Problem } from '../../core/problem.ts';

/** The log is not what it was: nothing more is appended to it or signed until its operator has looked. */
export class LogDivergedError extends Problem {
  /** What differs, for the operator. */
  declare readonly divergence: string;

  static {
    LogDivergedError.prototype.name = 'LogDivergedError';
  }

  constructor(divergence: string) {
    super('unavailable', {
      detail:
        'The log does not hold what was signed, so nothing is added to it until its operator has looked.',
      cause: new Error(divergence),
    });
    this.divergence = divergence;
  }
}
