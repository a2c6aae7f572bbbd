// Small things about arrays.

/** The last of values, of which there are some. @type {<T>(values: ArrayLike<T>) => T} */
export const last = (values) => values[values.length - 1];
