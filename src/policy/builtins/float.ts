/** How does Go write a float? strconv.FormatFloat, of finite doubles: exact digits, ties to even. */
type Digits = { readonly digits: string; readonly point: number };

/** `precision` -1: as few digits as tell it from all others. */
export function formatFloat(value: number, verb: string, precision: number): string {
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  const magnitude = Math.abs(value);
  if (verb === "b") return sign + binary(magnitude);
  if (verb === "x" || verb === "X") return sign + hexadecimal(magnitude, verb, precision);
  const isShortest = precision < 0;
  if (verb === "f" || verb === "F") {
    const digits = isShortest ? shortest(magnitude) : roundAt(exact(magnitude), precision);
    return sign + fixed(digits, isShortest ? Math.max(digits.digits.length - digits.point, 0) : precision);
  }
  if (verb === "e" || verb === "E") {
    const digits = isShortest ? shortest(magnitude) : rounded(exact(magnitude), precision + 1);
    return sign + exponential(digits, isShortest ? digits.digits.length - 1 : precision, verb);
  }
  return sign + general(magnitude, verb === "G" ? "E" : "e", precision);
}

function general(magnitude: number, verb: string, asked: number): string {
  const isShortest = asked < 0;
  let precision = asked === 0 ? 1 : asked;
  const digits = isShortest ? shortest(magnitude) : rounded(exact(magnitude), precision);
  const count = digits.digits.length;
  if (isShortest) precision = count;
  const threshold = isShortest ? 6 : precision > count && count >= digits.point ? count : precision;
  const exponent = digits.point - 1;
  if (exponent < -4 || exponent >= threshold) return exponential(digits, Math.min(precision, count) - 1, verb);
  return fixed(digits, Math.max((precision > digits.point ? count : precision) - digits.point, 0));
}

function shortest(magnitude: number): Digits {
  const [mantissa = "", exponent] = magnitude.toExponential().split("e");
  if (magnitude === 0) return { digits: "", point: 0 };
  return { digits: mantissa.replace(".", ""), point: Number(exponent) + 1 };
}

type Parts = { readonly mantissa: bigint; readonly exponent: number };

/** magnitude = mantissa × 2^exponent */
function parts(magnitude: number): Parts {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, magnitude);
  const bits = view.getBigUint64(0);
  const power = Number(bits >> 52n);
  const fraction = bits & (2n ** 52n - 1n);
  return power === 0
    ? { mantissa: fraction, exponent: -1074 }
    : { mantissa: fraction | (2n ** 52n), exponent: power - 1075 };
}

function exact(magnitude: number): Digits {
  const { mantissa, exponent } = parts(magnitude);
  if (mantissa === 0n) return { digits: "", point: 0 };
  const whole = exponent >= 0 ? mantissa << BigInt(exponent) : mantissa * 5n ** BigInt(-exponent);
  const all = whole.toString();
  return { digits: all.replace(/0+$/, ""), point: all.length - Math.max(-exponent, 0) };
}

function roundAt(from: Digits, decimals: number): Digits {
  return rounded(from, from.point + decimals);
}

function rounded({ digits, point }: Digits, count: number): Digits {
  if (count < 0 || count >= digits.length) return { digits, point };
  const rest = digits.slice(count);
  const isHalf = rest === "5";
  const isOdd = count > 0 && Number(digits[count - 1]) % 2 === 1;
  const isUp = isHalf ? isOdd : (rest[0] as string) >= "5";
  const kept = digits.slice(0, count);
  if (!isUp) return trimmed(kept, point);
  const more = (BigInt(`0${kept}`) + 1n).toString().padStart(count, "0");
  return trimmed(more, point + more.length - count);
}

function trimmed(digits: string, point: number): Digits {
  const kept = digits.replace(/0+$/, "");
  return kept === "" ? { digits: "", point: 0 } : { digits: kept, point };
}

function fixed({ digits, point }: Digits, decimals: number): string {
  const whole = point > 0 ? digits.slice(0, point).padEnd(point, "0") : "0";
  if (decimals === 0) return whole;
  const zeros = Math.min(Math.max(-point, 0), decimals);
  const fraction = "0".repeat(zeros) + digits.slice(Math.max(point, 0), Math.max(point + decimals, 0));
  return `${whole}.${fraction.slice(0, decimals).padEnd(decimals, "0")}`;
}

function exponential({ digits, point }: Digits, decimals: number, verb: string): string {
  const exponent = digits === "" ? 0 : point - 1;
  const fraction = decimals > 0 ? `.${digits.slice(1, 1 + decimals).padEnd(decimals, "0")}` : "";
  return `${digits[0] ?? "0"}${fraction}${verb}${power(exponent)}`;
}

function power(exponent: number): string {
  return `${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

function binary(magnitude: number): string {
  const { mantissa, exponent } = parts(magnitude);
  return `${mantissa}p${exponent < 0 ? "-" : "+"}${Math.abs(exponent)}`;
}

const TOP = 2n ** 60n;

function hexadecimal(magnitude: number, verb: string, precision: number): string {
  const { mantissa, exponent } = parts(magnitude);
  let [shifted, by] = [mantissa << 8n, mantissa === 0n ? 0 : exponent + 52];
  for (; shifted !== 0n && (shifted & TOP) === 0n; by--) shifted <<= 1n;
  if (precision >= 0 && precision < 15) {
    const dropped = BigInt(60 - precision * 4);
    const extra = shifted & (2n ** dropped - 1n);
    let kept = shifted >> dropped;
    const half = 2n ** (dropped - 1n);
    if (extra > half || (extra === half && (kept & 1n) === 1n)) kept++;
    shifted = kept << dropped;
    if ((shifted & (TOP << 1n)) !== 0n) [shifted, by] = [shifted >> 1n, by + 1];
  }
  const all = (shifted & (TOP - 1n)).toString(16).padStart(15, "0");
  const fraction = precision < 0 ? all.replace(/0+$/, "") : all.slice(0, precision).padEnd(precision, "0");
  const text = `0x${shifted >> 60n}${fraction === "" ? "" : `.${fraction}`}p${power(by)}`;
  return verb === "X" ? text.toUpperCase() : text;
}
