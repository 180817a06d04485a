<?php
// phpredis.
if (!extension_loaded('redis')) {
    exit(77);
}
[, $path, $grant] = $argv;

function ensure(bool $condition, string $what): void
{
    if (!$condition) {
        fwrite(STDERR, "not so: $what\n");
        exit(1);
    }
}

$client = new Redis();
ensure($client->connect($path), 'connect');
ensure($client->ping() === true, 'PING');
for ($call = 0; $call < 10; $call++) {
    $reply = $client->rawCommand('CHECK', $grant, 'run');
    ensure($reply[0] === 1 && $reply[2] === 9 - $call && $reply[5] === 'allow', json_encode($reply));
}
$denied = $client->rawCommand('CHECK', $grant, 'run');
ensure($denied[0] === 0 && str_starts_with($denied[8], 'run is limited to 10 calls'), json_encode($denied));
ensure($client->rawCommand('PEEK', $grant, 'run')[0] === 0, 'PEEK');
ensure($client->rawCommand('CHECK', $grant) === false, 'an error');
ensure(str_contains($client->getLastError(), 'wrong number of arguments'), 'its words');
$client->clearLastError();
$pipeline = $client->multi(Redis::PIPELINE);
for ($call = 0; $call < 1000; $call++) {
    $pipeline->rawCommand('CHECK', $grant, 'big');
}
$left = array_column($pipeline->exec(), 2);
ensure(count($left) === 1000 && $left === range($left[0], $left[0] - 999), 'the order of a pipeline');
ensure($client->echo('still here') === 'still here', 'ECHO');
ensure(isset($client->info()['sluice_version']), 'INFO');
echo 'ok phpredis ', phpversion('redis'), "\n";
