"""MLflow as an idempotent projection of the DVC artifacts: `sync.sync` brings a store up to date.

A stage that DVC restores from its cache does not run, so runs are not logged during training: they are derived from the
artifacts afterwards. Data flows one way: `contents` reads the files of every cell and says what its run holds,
`aggregates` sums up the seeds, `runs` makes the runs that are not there yet, `models` logs and registers the best slim
models, and `view` sets up the table that the UI opens with. `places` and `store` find, build and lock the store.

A run is identified by its cell and the hash of its artifacts, which it gets last. So syncing the same artifacts again
changes nothing, and a run without a hash belongs to a sync that was killed: the next one replaces it.
"""
