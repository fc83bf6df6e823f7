/**
 * What of the answer may be seen? Applies `redact` and `max_result_bytes` to a result or an upstream error alike, before
 * the record is written. A path's value is replaced wherever it stands in the answer, in each encoding that a reader of
 * it reads (`redact-text.ts`). What surprises: where anything is redacted, a progress message is not passed on, for it
 * comes before the value is known; and what is not text, an image say, is not looked into.
 */
import type { Answer, Call, CallRequest, JsonObject, Obligations } from "../model.ts";
import { Refusal } from "../refusal.ts";
import type { Permit } from "./authorize.ts";
import { blanked, hidingBy, isNumber, replaceIn, toldTexts, valuesAt, valuesTold } from "./redact-tree.ts";

/** @throws Refusal forbidden with reason `max_result_bytes`, `redact_too_large` */
export function redact(permit: Permit, answer: Answer): Answer {
  const { redact: rules } = permit.obligations;
  return bounded(permit, rules.length === 0 ? answer : redactAnswer(rules, answer));
}

/** @throws Refusal forbidden with reason `max_result_bytes` */
export function bounded(permit: Permit, redacted: Answer): Answer {
  const { max_result_bytes: bytesMax } = permit.obligations;
  if (bytesMax !== null && Buffer.byteLength(JSON.stringify(redacted)) > bytesMax) {
    throw new Refusal("forbidden", "The result is larger than policy allows.", { reasons: ["max_result_bytes"] });
  }
  return redacted;
}

/** Of progress, only how far it is. */
export function withholdProgress(permit: Permit, request: CallRequest): CallRequest {
  const { onProgress } = request;
  if (onProgress === null || permit.obligations.redact.length === 0) return request;
  return {
    ...request,
    onProgress: ({ progress, total }: JsonObject, call: Call) =>
      onProgress({ ...(isNumber(progress) && { progress }), ...(isNumber(total) && { total }) }, call),
  };
}

function redactAnswer(rules: Obligations["redact"], answer: Answer): Answer {
  const body = bodyOf(answer);
  const values = new Set([...valuesAt(body, rules), ...valuesTold(toldTexts(body, rules), rules)]);
  return withBody(answer, replaceIn(blanked(body, rules), hidingBy(rules, values)));
}

export function bodyOf(answer: Answer): JsonObject {
  return answer.kind === "result" ? answer.result : answer.error;
}

export function withBody({ kind }: Answer, body: JsonObject): Answer {
  return (kind === "result" ? { kind, result: body } : { kind, error: body }) as Answer;
}
