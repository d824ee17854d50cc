// A server that calls another one with axios and axios-retry.
//
// Usage: caller.js PORT. /pay/HOW/TIMES/ID calls LEAF_URL/fail/HOW/TIMES/ID. MODULES is a node_modules with both packages.
'use strict';

const http = require('node:http');
const axios = require(`${process.env.MODULES}/axios`);
const axiosRetry = require(`${process.env.MODULES}/axios-retry`).default;

const client = axios.create({ baseURL: process.env.LEAF_URL, timeout: 2000 });
axiosRetry(client, { retries: 5, retryDelay: () => 20 });

http.createServer(async (request, response) => {
  const [, , how, times, id] = request.url.split('/');
  const headers = { 'X-Customer': request.headers['x-customer'] ?? '0' };
  const answer = await client.get(`/fail/${how}/${times}/${id}`, { headers });
  response.end(String(answer.status));
}).listen(Number(process.argv[2]), '127.0.0.1');
