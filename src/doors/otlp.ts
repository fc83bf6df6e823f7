/**
 * OTLP/HTTP for the records of sidecars: `POST /v1/traces` at the admin listener, JSON. What surprises: this is no
 * collector. Each span is a line of the sender's own trail, which is kept as it is if it follows the one before.
 */
import type { Gateway } from "../gateway.ts";
import { isObject } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";
import { Refusal } from "../refusal.ts";
import { gatherRecords } from "../view-sidecars.ts";
import { askedOf } from "./exchange.ts";
import type { Exchange, Route } from "./exchange.ts";
import { callHeaders, malformedProblem, replyJson, replyProblem } from "./render.ts";

/** Names the file of the trail that the spans stand in. */
export const SEGMENT_HEADER = "portcullis-segment";

const malformed = malformedProblem("rest");
export const otlpRoutes: readonly Route[] = [{ prefix: "/v1/traces", methods: ["POST"], door, malformed }];

async function door(gateway: Gateway, exchange: Exchange): Promise<void> {
  const spans = spansOf(exchange.body);
  const file = exchange.headers[SEGMENT_HEADER];
  if (spans === null || file === undefined) {
    const message = `The body must be {"resourceSpans": [...]}, and ${SEGMENT_HEADER} name the file that they stand in.`;
    return malformed(gateway, exchange, new Refusal("invalid_request", message));
  }
  const outcome = await gatherRecords(gateway, askedOf(exchange, { interface: "rest" }), { file, spans });
  if (!outcome.ok) return replyProblem(exchange, outcome);
  replyJson(exchange, {}, callHeaders(outcome.call));
}

function spansOf(body: Json | undefined): readonly JsonObject[] | null {
  const spans = isObject(body) && Object.keys(body).length === 1 ? body["resourceSpans"] : undefined;
  return Array.isArray(spans) && spans.every(isObject) ? spans : null;
}
