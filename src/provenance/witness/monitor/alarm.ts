/** What a log can do that a monitor shouts about. */
export type AlarmKind =
  /** Two roots for one size. */
  | 'fork'
  /** The checkpoint is smaller than the one before. */
  | 'shrunk'
  /** The larger tree does not begin with the smaller one. */
  | 'inconsistent'
  | 'bad-signature'
  /** The pinned key signs no longer. */
  | 'changed-key'
  /** Tiles or entries are not what the signed root says. */
  | 'rewritten'
  /** What a checkpoint promises is not there. */
  | 'withheld'
  /** Something that the log holds once only is there twice. */
  | 'duplicate'
  /** Too few of the expected witnesses cosigned. */
  | 'uncosigned';

/** Stops a round: what was trusted before stays what is trusted. */
export class Alarm extends Error {
  override name = 'Alarm';
  readonly kind: AlarmKind;
  /** What shows it, besides the two checkpoints. */
  readonly exhibits: Readonly<Record<string, string>>;

  constructor(kind: AlarmKind, message: string, exhibits: Readonly<Record<string, string>> = {}) {
    super(message);
    this.kind = kind;
    this.exhibits = exhibits;
  }
}
