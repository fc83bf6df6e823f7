/** How long is `1h30m`? Go's durations, with OPA's days, weeks and years of 365 days; in nanoseconds, null if it is none. */
const UNITS: { readonly [unit: string]: bigint } = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};
const HOURS: { readonly [unit: string]: number } = { d: 24, w: 168, y: 8760 };
const MOST = 2n ** 63n;

export function parseDuration(text: string): bigint | null {
  if (!/[dwy]/.test(text)) return plain(text);
  const found = /^([-+]?)((?:[0-9.]+(?:ms|us|µs|ns|[a-z]))+)$/.exec(text);
  if (found === null) return null;
  const [, sign = "", segments = ""] = found;
  let rewritten = sign;
  for (const [, digits = "", unit = ""] of segments.matchAll(/([0-9.]+)(ms|us|µs|ns|[a-z])/g)) {
    const hours = HOURS[unit];
    if (hours === undefined) rewritten += digits + unit;
    else if (!/^(\d+\.?\d*|\.\d+)$/.test(digits)) return null;
    else rewritten += `${plainText(Number(digits) * hours)}h`;
  }
  return plain(rewritten);
}

/** Without an exponent. */
function plainText(value: number): string {
  return Number.isInteger(value)
    ? BigInt(value).toString()
    : String(value).includes("e")
      ? value.toFixed(20)
      : String(value);
}

function plain(text: string): bigint | null {
  const [, sign = "", rest = ""] = /^([-+]?)([^]*)$/.exec(text) ?? [];
  if (rest === "0") return 0n;
  let total = 0n;
  let left = rest;
  if (left === "") return null;
  while (left !== "") {
    const found = /^(\d*)(?:\.(\d*))?([^.\d]+)/.exec(left);
    if (found === null) return null;
    const [all, whole = "", fraction = "", name = ""] = found;
    const unit = UNITS[name];
    if (unit === undefined || whole + fraction === "") return null;
    const value = BigInt(whole || "0") * unit;
    total += value + partOf(fraction, unit);
    if (value > MOST || total > MOST) return null;
    left = left.slice(all.length);
  }
  if (sign === "-") return -total;
  return total >= MOST ? null : total;
}

/** In doubles, as Go has it. */
function partOf(fraction: string, unit: bigint): bigint {
  let digits = 0n;
  let scale = 1;
  for (const digit of fraction) {
    if (digits > (MOST - 1n) / 10n) break;
    const more = digits * 10n + BigInt(digit);
    if (more > MOST) break;
    digits = more;
    scale *= 10;
  }
  return BigInt(Math.trunc(Number(digits) * (Number(unit) / scale)));
}
