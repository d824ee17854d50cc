// The demo's catalogue: Node and express. Usage: node catalogue.js PORT.
'use strict';
const express = require('express');
const words = ['needle', 'thread', 'thimble', 'scissors', 'ribbon', 'button'];
const products = Array.from({ length: 40 }, (_, i) => ({ id: i + 1, name: `${words[i % words.length]} ${i + 1}` }));
const app = express();
app.get('/products', (req, res) => {
  setTimeout(() => res.json(products.filter((p) => p.name.startsWith(String(req.query.q))).slice(0, 3)), 8);
});
app.get('/products/:id', (req, res) => {
  const product = products[Number(req.params.id) - 1];
  if (!product) return res.status(404).json({ error: 'no such product' });
  return setTimeout(() => res.json(product), 4);
});
app.listen(Number(process.argv[2]), '127.0.0.1');
