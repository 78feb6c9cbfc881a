/** The largest power of two below `size`, which is above 1: how many leaves the left subtree holds. */
export function splitOf(size: number): number {
  let split = 1;
  while (split * 2 < size) split *= 2;
  return split;
}

/** The n of 2^n; undefined when `size` is no power of two. Sizes go to 2^53, where bit operators do not. */
export function exponentOf(size: number): number | undefined {
  let rest = size;
  let exponent = 0;
  while (rest > 1 && rest % 2 === 0) {
    rest /= 2;
    exponent += 1;
  }
  return rest === 1 ? exponent : undefined;
}
