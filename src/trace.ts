/**
 * W3C Trace Context: what a caller's says, what a server hears, and which ids a call's children have. What surprises:
 * those ids are the call's own with another last byte, so that nobody has to write them down: the server hears of a
 * span that is drawn only later, from the record, and the same each time that it is drawn.
 */

/** Trace and span of somebody else. */
export type TraceParent = { readonly traceId: string; readonly spanId: string };

const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(.?)/;

/** Version 00 ends after the flags, a later one may go on, ff is none. The sampled flag decides nothing here. */
export function readTraceparent(text: string | null): TraceParent | null {
  const [, version, traceId, spanId, rest] = TRACEPARENT.exec(text ?? "") ?? [];
  if (traceId === undefined || spanId === undefined) return null;
  return rest === "" || (rest === "-" && version !== "00") ? { traceId, spanId } : null;
}

/** Children of a call's span; one more for each attempt to send it. */
export const CHILD = { route: 1, policy: 2, limit: 3, attempt: 0x10 } as const;

/** `child` below 256, and not 0, which is the call itself. */
export function childSpanId(spanId: string, child: number): string {
  const last = Number.parseInt(spanId.slice(14), 16) ^ child;
  return spanId.slice(0, 14) + (last < 16 ? "0" : "") + last.toString(16);
}

/** What the upstream hears: the attempt that it is asked in; always sampled, as the audit is. */
export function attemptTraceparent({ traceId, spanId }: TraceParent, attempt: number): string {
  return `00-${traceId}-${childSpanId(spanId, CHILD.attempt + attempt)}-01`;
}
