/**
 * How does a refusal become a GraphQL error? What a verb refused carries its own call's fields. Whatever else went
 * wrong, from a syntax error to a bug, is refused by the verb `refuse`, so that it too is recorded and has a call id.
 */
import type { ExecutionResult, GraphQLError } from "graphql";
import { createGraphQLError } from "graphql-yoga";
import { refuse } from "../../call.ts";
import type { Gateway } from "../../gateway.ts";
import type { Asked, Outcome } from "../../model.ts";
import { Refusal, REFUSALS } from "../../refusal.ts";
import type { RefusalCode } from "../../refusal.ts";
import { refusalBody } from "../render.ts";

type Asking = { readonly gateway: Gateway; readonly asked: Asked };

/** @throws GraphQLError carrying the refusal */
export function valueOf<Value>(outcome: Outcome<Value>): Value {
  if (outcome.ok) return outcome.value;
  throw refusalError(outcome);
}

function refusalError({ refusal, call }: Outcome<unknown> & { readonly ok: false }): GraphQLError {
  return createGraphQLError(refusal.message, { extensions: refusalBody(refusal, call) });
}

/** Each error as the caller may see it, with `code`, `callId`, `retryable` and `executed`; and, without data, a status. */
export async function tell(request: Asking, { errors = [], data }: ExecutionResult): Promise<readonly GraphQLError[]> {
  // one fault may strike five hundred fields: it is recorded once
  const recorded = new Map<string, Promise<Told>>();
  const record = (refusal: Refusal): Promise<Told> => {
    const key = `${refusal.code} ${refusal.message}`;
    let told = recorded.get(key);
    if (told === undefined) recorded.set(key, (told = recordRefusal(request, refusal)));
    return told;
  };
  return Promise.all(
    errors.map(async (error) => {
      const told = isTold(error)
        ? { message: error.message, extensions: error.extensions }
        : await record(refusalOf(error));
      const http = data === undefined ? { http: statusFor(error, told.extensions.code) } : {};
      const { nodes = null, source = null, positions = null, path = null } = error;
      return createGraphQLError(told.message, {
        nodes,
        source,
        positions,
        path,
        extensions: { ...told.extensions, ...http },
      });
    }),
  );
}

type Told = { readonly message: string; readonly extensions: { readonly code: RefusalCode } };

async function recordRefusal({ gateway, asked }: Asking, refusal: Refusal): Promise<Told> {
  const outcome = await refuse(gateway, asked, refusal);
  if (outcome.ok) throw new Error("A refusal was not refused.");
  const { code, message } = outcome.refusal;
  return { message, extensions: { ...refusalBody(outcome.refusal, outcome.call), code } };
}

/** A verb's refusal carries a call of its own. */
function isTold(error: GraphQLError): error is GraphQLError & Told {
  return typeof error.extensions["callId"] === "string";
}

/** `spec` lets application/json answer 200 for a document that is wrong, as GraphQL over HTTP wants it. */
function statusFor({ extensions }: GraphQLError, code: RefusalCode): object {
  const { http } = extensions;
  if (code !== "invalid_request") return { status: REFUSALS[code].http };
  if (http === undefined) return { status: REFUSALS.invalid_request.http, spec: true };
  // a bound of ours is refused plainly, even where the library took it for a syntax error
  return extensions["code"] === "invalid_request" ? { ...http, spec: false } : http;
}

/** graphql's own messages quote the caller's document and variables only; all other text stays inside. */
function refusalOf(error: GraphQLError): Refusal {
  const thrown = error.originalError;
  if (thrown instanceof Refusal) return thrown;
  if (error.path === undefined && (thrown === undefined || isGraphQLError(thrown))) {
    return new Refusal("invalid_request", error.message);
  }
  // graphql marks a bad argument with its place in the document, an unfit value of ours with none
  if (isGraphQLError(thrown) && thrown.nodes !== undefined) {
    return new Refusal("invalid_request", "An argument is missing or unfit.");
  }
  return Refusal.from(thrown ?? error);
}

function isGraphQLError(thrown: Error | undefined): thrown is GraphQLError {
  return thrown?.name === "GraphQLError";
}
