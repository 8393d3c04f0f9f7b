// What a widget sends. While the server does not answer, the last thing that was done with each widget is kept, and sent
// when the page has been drawn in full again. All widgets of a page share one record.

const connection = (window.odconvConnection ??= { open: true, late: new Set(), dragging: "", released: false, functions: {}, kept: new Map(), mark: () => {} });

// For the widget of the key `name`: send(how, key, value), where how is "setStateValue" or "setTriggerValue".
const sender = (name, functions) => {
  connection.functions[name] = functions;
  return (how, key, value) => {
    if (connection.open) functions[how](key, value);
    else connection.kept.set(name, { how, key, value });
  };
};

// Draw the figure ``key`` of the page anew, as the page itself does; nothing where there is none.
const redrawFigure = (key, data) => {
  const widget = document.querySelector(`.st-key-${key} [data-testid=stBidiComponentIsolated]`);
  widget?.shadowRoot?.querySelector(".od")?.redraw?.({ ...data, key });
};

const sendKept = () => {
  const kept = [...connection.kept];
  connection.kept.clear();
  for (const [name, { how, key, value }] of kept) connection.functions[name][how](key, value);
};
