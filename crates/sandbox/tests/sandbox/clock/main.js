// What a program of Node sees of a clock that waits move.
const wall = Date.now(), begin = performance.now();
const show = what => console.log(what, Date.now() - wall, Math.round(performance.now() - begin));
const sleep = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));
(async () => {
  console.log(wall);
  await sleep(50);
  show('timer');
  const until = Date.now() + 300;
  let rounds = 0;
  while (Date.now() < until) { await sleep(100); rounds++; }
  show(`deadline ${rounds}`);
  let ticks = 0;
  await new Promise(resolve => { const timer = setInterval(() => { if (++ticks == 3) { clearInterval(timer); resolve(); } }, 20); });
  console.log('ticks', ticks);
  const before = Date.now();
  require('child_process').execSync('sleep 0.2');
  console.log('child', Date.now() - before);
  const spin = Date.now();
  while (Date.now() - spin < 1000);
  console.log('spun');
})();
