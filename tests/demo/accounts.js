// The demo's accounts: Node and express. A tenant exists 150 ms after it was asked for. Usage: node accounts.js PORT.
'use strict';
const express = require('express');
const tenants = new Set();
const app = express();
app.put('/tenants/:name', (req, res) => {
  setTimeout(() => {
    tenants.add(req.params.name);
    res.status(201).json({ tenant: req.params.name });
  }, 150);
});
app.get('/tenants/:name', (req, res) => {
  if (!tenants.has(req.params.name)) return res.status(404).json({ error: 'no such tenant' });
  return res.json({ tenant: req.params.name });
});
app.listen(Number(process.argv[2]), '127.0.0.1');
