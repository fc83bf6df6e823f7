/** Where does a client get a token for this gateway? RFC 9728, for anybody; nothing is here where no issuer is configured. */
import type { Gateway } from "../gateway.ts";
import { resourceNamed, WELL_KNOWN } from "../identity/resource.ts";
import { Refusal } from "../refusal.ts";
import type { Exchange, Route } from "./exchange.ts";
import { malformedProblem, replyJson } from "./render.ts";

const route = { methods: ["GET", "HEAD"], door: getMetadata, malformed: malformedProblem("rest") };

export const metadataRoutes: readonly Route[] = [
  { ...route, prefix: WELL_KNOWN },
  { ...route, prefix: `${WELL_KNOWN}/` },
];

async function getMetadata(gateway: Gateway, exchange: Exchange): Promise<void> {
  const found = resourceNamed(gateway.snapshot().settings.issuers, exchange.path.slice(WELL_KNOWN.length));
  if (found === null) throw new Refusal("invalid_request", "There is nothing at this path.", { status: 404 });
  replyJson(exchange, {
    resource: found.resource,
    authorization_servers: found.issuers,
    ...(found.scopes.length === 0 ? {} : { scopes_supported: found.scopes }),
    bearer_methods_supported: ["header"],
  });
}
