<?php
// PHP's memcached extension (on libmemcached) and its session handler: memcached_session.php SERVER SECOND keeps|forgets [binary]

declare(strict_types=1);

[, $server, $second, $fate] = $argv;
$binary = in_array('binary', $argv, true);
$keeps = $fate === 'keeps';
$count = 0;

function check(string $what, mixed $actual, mixed $expected = true): void
{
    global $count;
    $count++;

    if ($actual !== $expected) {
        [$wanted, $got] = array_map(fn ($value) => substr((string) json_encode($value, JSON_PARTIAL_OUTPUT_ON_ERROR), 0, 200), [$expected, $actual]);
        fwrite(STDERR, "$what: expected $wanted, got $got\n");
        exit(1);
    }
}

/** Has the server stopped and started again on its port. */
function restart(): void
{
    echo "restart\n";

    if (fgets(STDIN) !== "restarted\n") {
        fwrite(STDERR, "the server was not restarted\n");
        exit(1);
    }
}

function connect(string ...$servers): Memcached
{
    global $binary;
    $client = new Memcached();
    $client->setOptions([
        Memcached::OPT_BINARY_PROTOCOL => $binary,
        Memcached::OPT_LIBKETAMA_COMPATIBLE => true,
        Memcached::OPT_TCP_NODELAY => true,
        Memcached::OPT_POLL_TIMEOUT => 20000,
    ]);

    foreach ($servers as $server) {
        [$host, $port] = explode(':', $server);
        $client->addServer($host, (int) $port);
    }

    return $client;
}

/** A visitor's session as PHP's own handler keeps it: reads it, changes it, and writes it back. */
function visit(string $visitor): int
{
    session_id($visitor);
    session_start();
    $_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
    $visits = $_SESSION['visits'];
    session_write_close();
    return $visits;
}

$client = connect($server);
$many = [];
for ($number = 0; $number < 500; $number++) {
    $many["many-$number"] = "value $number";
}
$bytes = str_repeat(implode(array_map('chr', range(0, 255))), 4000);
$longest = str_repeat('k', 250);

// Values.
$things = ['text' => 'текст', 'int' => -17, 'float' => 2.5, 'true' => true, 'null' => null, 'array' => ['a' => [1, null]]];
check('setMulti of several types', $client->setMulti($things));
check('flags tell the types', $client->getMulti(array_keys($things), Memcached::GET_PRESERVE_ORDER), $things);
check('get of nothing', $client->get('missing'), false);
check('and why', $client->getResultCode(), Memcached::RES_NOTFOUND);
$client->setOption(Memcached::OPT_COMPRESSION, false);
check('set of every byte', $client->set('binary', $bytes));
check('get of every byte', $client->get('binary') === $bytes);
check('a value too large', $client->set('text', str_repeat('x', 1 << 21)), false);
check('and why', $client->getResultCode(), Memcached::RES_E2BIG);
check('the connection goes on', $client->get('int'), -17);
$client->setOption(Memcached::OPT_COMPRESSION, true);
check('set of a compressed value', $client->set('pressed', str_repeat('x', 5000000)));
check('get of a compressed value', $client->get('pressed') === str_repeat('x', 5000000));
check('set of nothing', $client->set('empty', ''));
check('get of nothing', $client->get('empty'), '');
check('set with the longest key', $client->set($longest, 'long'));
check('get with the longest key', $client->get($longest), 'long');
$client->setOption(Memcached::OPT_SERIALIZER, Memcached::SERIALIZER_IGBINARY);
check('igbinary', $client->set('igbinary', $things) && $client->get('igbinary') === $things);
$client->setOption(Memcached::OPT_SERIALIZER, Memcached::SERIALIZER_PHP);

// Storing.
$client->setOption(Memcached::OPT_COMPRESSION, false);
check('add', $client->add('stored', 'added'));
check('add to what is there', $client->add('stored', 'other'), false);
check('and why', in_array($client->getResultCode(), [Memcached::RES_NOTSTORED, Memcached::RES_DATA_EXISTS], true));
check('replace', $client->replace('stored', 'replaced'));
check('append', $client->append('stored', '-end'));
check('prepend', $client->prepend('stored', 'start-'));
check('all of it', $client->get('stored'), 'start-replaced-end');
check('delete', $client->delete('stored'));
check('delete of nothing', $client->delete('stored'), false);
check('set', $client->set('unique', 'first'));
['value' => $value, 'cas' => $unique] = $client->get('unique', null, Memcached::GET_EXTENDED);
check('get with the unique', $value, 'first');
check('cas', $client->cas($unique, 'unique', 'second'));
check('cas of a used unique', $client->cas($unique, 'unique', 'third'), false);
check('and why', $client->getResultCode(), Memcached::RES_DATA_EXISTS);
check('set of a number', $client->set('counter', 10));
check('increment', $client->increment('counter', 5), 15);
check('decrement', $client->decrement('counter', 20), 0);
check('increment of nothing', $client->increment('missing'), false);
check('touch', $client->touch('unique', 1000));
check('touch of nothing', $client->touch('missing', 1000), false);

if ($binary) {
    check('increment with a first value', $client->increment('fresh', 1, 41), 41);
    check('increment of it', $client->increment('fresh', 1, 41), 42);
}

check('set with an expiry', $client->set('short', 'x', 1));
for ($end = time() + 20; $client->get('short') !== false && time() < $end; usleep(100000));
check('after the expiry', $client->get('short'), false);

// Many at once.
check('setMulti', $client->setMulti($many));
check('getMulti', $client->getMulti(array_keys($many), Memcached::GET_PRESERVE_ORDER), $many);
check('getMulti with uniques', count(array_filter($client->getMulti(array_keys($many), Memcached::GET_EXTENDED), fn ($item) => $item['cas'] > 0)), 500);
check('getDelayed', $client->getDelayed(array_keys($many), true));
check('fetch', array_keys($client->fetch()), ['key', 'value', 'cas', 'flags']);
check('fetchAll', count($client->fetchAll()), 499);
check('deleteMulti', array_unique($client->deleteMulti(['many-0', 'many-1'])), ['many-0' => true]);
check('getMulti of the rest', count($client->getMulti(array_keys($many))), 498);

$hasty = connect($server);
$hasty->setOptions([Memcached::OPT_NO_BLOCK => true, Memcached::OPT_BUFFER_WRITES => true, Memcached::OPT_NOREPLY => true]);
foreach ($many as $key => $value) {
    $hasty->set("hasty-$key", $value);
}
check('flushBuffers', $hasty->flushBuffers());
check('getMulti behind buffered sets', count($hasty->getMulti(array_map(fn ($key) => "hasty-$key", array_keys($many)))), 500);

$spread = connect($server, $second);
check('setMulti over two servers', $spread->setMulti($many));
check('getMulti over two servers', count($spread->getMulti(array_keys($many))), 500);
$there = count(connect($second)->getMulti(array_keys($many)));
check('both have a part', $there > 0 && $there < 500);
check('getVersion of both', array_keys($spread->getVersion()), [$server, $second]);

// The server.
$stats = $client->getStats()[$server];
check('getStats', is_int($stats['pid']) && is_int($stats['cmd_get']) && is_int($stats['curr_connections']));
check('getStats settings', (string) $client->getStats('settings')[$server]['tcpport'], explode(':', $server)[1]);

// Through a restart, with a visitor whose session lies in the server.
check('flush', $client->flush());
check('all is flushed', $client->getMulti(array_keys($many)), []);
ini_set('session.save_handler', 'memcached');
ini_set('session.save_path', $server);
ini_set('session.use_cookies', '0');
ini_set('session.cache_limiter', '');
ini_set('memcached.sess_binary_protocol', $binary ? '1' : '0');
check('a first visit', visit('visitor'), 1);
check('a second visit', visit('visitor'), 2);
check('the session lies in the server', $client->get('memc.sess.key.visitor') !== false);
check('its lock is gone', $client->get('memc.sess.key.lock.visitor'), false);
check('setMulti', $client->setMulti($many, 1000));
check('set of every byte', $client->set('binary', $bytes));
$unique = $client->get('many-7', null, Memcached::GET_EXTENDED)['cas'];
restart();
// Libmemcached finds out with a request that the connection is gone, and the next one makes a new one.
$client->get('binary');
check('getMulti after a restart', $client->getMulti(array_keys($many), $keeps ? Memcached::GET_PRESERVE_ORDER : 0), $keeps ? $many : []);
check('every byte', $client->get('binary') === $bytes, $keeps);
check('cas knows its unique', $client->cas($unique, 'many-7', 'cas'), $keeps);
check("the visitor's third visit", visit('visitor'), $keeps ? 3 : 1);
echo 'php-memcached ', phpversion('memcached'), ": $count checks\n";
