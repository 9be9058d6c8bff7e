// Sends the server's token with every request of the suite, which has no option for it and two ways to send: undici, which `fetch`
// is made of too, and Node's own client.
import http from "node:http";
import { createRequire } from "node:module";

const { SUITE, TOKEN } = process.env;
const authorization = `Bearer ${TOKEN}`;
const { getGlobalDispatcher, setGlobalDispatcher } = createRequire(SUITE)("undici");

function withToken(headers) {
  if (headers === undefined || headers === null) return { authorization };
  if (Array.isArray(headers)) return [...headers, "authorization", authorization];
  return { ...headers, authorization };
}

const token = (dispatch) => (options, handler) => dispatch({ ...options, headers: withToken(options.headers) }, handler);
setGlobalDispatcher(getGlobalDispatcher().compose(token));

const { request } = http;
http.request = (options, listener) => request({ ...options, headers: withToken(options.headers) }, listener);
