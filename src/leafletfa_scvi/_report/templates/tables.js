"use strict";
// Tables are complete without this script, which adds sorting, searching and choosing of rows.
(() => {
  const number = new Intl.NumberFormat("en");

  function sortable(table, rows) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const isNumber = head.classList.contains("n");
        const before = head.getAttribute("aria-sort");
        const first = isNumber ? "descending" : "ascending";
        const second = isNumber ? "ascending" : "descending";
        const order = before === first ? second : first;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const keys = new Map(rows.map((row) => [row, key(row.cells[column], isNumber)]));
        rows.sort((one, other) => compare(keys.get(one), keys.get(other), sign));
        table.tBodies[0].append(...rows);
      });
    });
  }

  function key(cell, isNumber) {
    if (!isNumber) {
      return cell.textContent === "" ? null : cell.textContent;
    }
    const value = cell.dataset.v;
    return value === undefined || value === "" ? null : Number(value);
  }

  function compare(one, other, sign) {
    if (one === null || other === null) {
      return (one === null) - (other === null);
    }
    if (typeof one === "number") {
      return sign * (one - other);
    }
    return sign * one.localeCompare(other, "en", { numeric: true });
  }

  function searchable(data, table, rows) {
    const tools = data.querySelector(".tools");
    if (tools === null) {
      return;
    }
    const input = tools.querySelector("input");
    const select = tools.querySelector("select");
    const count = tools.querySelector(".count");
    const heads = Array.from(table.tHead.rows[0].cells, (head) => head.textContent);
    const column = heads.indexOf(table.dataset.filter);
    const texts = new Map();
    const text = (row) => {
      if (!texts.has(row)) {
        const cells = Array.from(row.cells, (cell) => cell.textContent);
        texts.set(row, cells.join("\n").toLowerCase());
      }
      return texts.get(row);
    };
    const show = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const choice = select === null || select.value === "" ? null : select.selectedOptions[0];
      let shown = 0;
      for (const row of rows) {
        const fits =
          (choice === null || row.cells[column].textContent === choice.textContent) &&
          words.every((word) => text(row).includes(word));
        row.hidden = !fits;
        shown += fits ? 1 : 0;
      }
      const all = number.format(rows.length);
      count.textContent = shown === rows.length ? `${all} rows` : `${number.format(shown)} of ${all} rows`;
    };
    input.addEventListener("input", show);
    if (select !== null) {
      select.addEventListener("change", show);
    }
    tools.hidden = false;
    show(); // browsers may restore what was typed before
  }

  for (const data of document.querySelectorAll(".data")) {
    const table = data.querySelector("table");
    const rows = Array.from(table.tBodies[0].rows);
    searchable(data, table, rows);
    sortable(table, rows);
  }
})();
