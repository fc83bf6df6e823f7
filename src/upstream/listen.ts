/**
 * How does the gateway hear that an http instance's tools changed? Over one standing stream, opened again with a
 * growing pause whenever it ends. What surprises: each time it is opened again counts as a change, since what happened
 * in between was not heard; and a stream is renewed after a while, since a half-open one is silent for ever.
 */
import { isObject } from "../json.ts";
import type { Ports } from "../ports.ts";
import { LIST_CHANGED } from "./connection.ts";
import type { Sink } from "./dial.ts";
import type { Meeting } from "./session.ts";
import { readSse } from "./sse.ts";
import { isNever, isOk, isSuccess } from "./status.ts";
import { readMessage } from "./wire.ts";

export type Listening = {
  readonly open: () => Promise<Meeting>;
  readonly stream: (meeting: Meeting, sink: Sink) => () => void;
  readonly ports: Ports;
  readonly onListChanged: () => void;
};

const NOTHING = (): void => {};
const PAUSE_FIRST_MS = 500;
const PAUSE_MAX_MS = 30_000;
const STREAM_MS = 15 * 60_000;
const EVENT_BYTES_MAX = 1 << 20;

export function listenOverHttp(listening: Listening): { readonly stop: () => void } {
  let timer: NodeJS.Timeout | null = null;
  let cut = NOTHING;
  let stopped = false;
  let pauseMs = PAUSE_FIRST_MS;
  let heardBefore = false;

  const again = (): void => {
    if (stopped) return;
    timer = setTimeout(begin, pauseMs * (0.5 + listening.ports.random.fraction())).unref();
    pauseMs = Math.min(pauseMs * 2, PAUSE_MAX_MS);
  };
  const begin = (): void => {
    listening.open().then((meeting) => {
      if (stopped || !offersChanges(meeting)) return;
      cut = streamOnce(listening, meeting, {
        open: () => {
          pauseMs = PAUSE_FIRST_MS;
          if (heardBefore) listening.onListChanged();
          heardBefore = true;
        },
        ended: (unsupported) => {
          if (!unsupported) again();
        },
      });
    }, again);
  };
  begin();
  return {
    stop: () => {
      stopped = true;
      clearTimeout(timer ?? undefined);
      cut();
    },
  };
}

function offersChanges({ greeting }: Meeting): boolean {
  const tools = greeting.capabilities["tools"];
  return isObject(tools) && tools["listChanged"] === true;
}

type Turns = { readonly open: () => void; readonly ended: (unsupported: boolean) => void };

function streamOnce(listening: Listening, meeting: Meeting, turns: Turns): () => void {
  let unsupported = false;
  const reader = readSse(EVENT_BYTES_MAX, (data) => {
    const message = readMessage(data);
    if (message.kind === "notification" && message.method === LIST_CHANGED) listening.onListChanged();
  });
  let stop = NOTHING;
  const renew = setTimeout(() => end(), STREAM_MS).unref();
  const end = (): void => {
    clearTimeout(renew);
    stop();
    turns.ended(unsupported);
  };
  stop = listening.stream(meeting, {
    sent: () => {},
    head: (status, headers) => {
      const type = headers["content-type"];
      const streams = isOk(status) && typeof type === "string" && type.startsWith("text/event-stream");
      if (streams) return turns.open();
      // a success that is no stream is a server that answers anything to anything: it offers none
      unsupported = isNever(status, meeting.session !== null) || isSuccess(status);
      end();
    },
    data: (chunk) => {
      try {
        reader.push(chunk);
      } catch {
        end();
      }
    },
    end,
    fail: end,
  });
  return () => {
    clearTimeout(renew);
    stop();
  };
}
