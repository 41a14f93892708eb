"use strict";

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const fixed = (value) => value.toFixed(2).replace("-", "−");
const percent = (p) => (p > 0 && p < 0.001 ? "< 0.1 %" : `${(p * 100).toFixed(1)} %`);
const plural = (count, word) => `${number.format(count)} ${word}${count === 1 ? "" : "s"}`;
const spaced = (words) => words.replace(/\s+/g, " ");

function make(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}
