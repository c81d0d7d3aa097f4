// The River peer of the benchmarks: inserts no-op jobs, or drains them.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// Jobs per COPY.
const batch = 5000

// The arguments of a job that does nothing.
type nothing struct {
	Username string `json:"username"`
}

func (nothing) Kind() string { return "nothing" }

// Counts finished jobs and closes done after the last one.
type worker struct {
	river.WorkerDefaults[nothing]
	left *atomic.Int64
	done chan struct{}
}

func (w *worker) Work(context.Context, *river.Job[nothing]) error {
	if w.left.Add(-1) == 0 {
		close(w.done)
	}
	return nil
}

func main() {
	database := flag.String("database", "", "address of the database")
	jobs := flag.Int("jobs", 0, "jobs to insert or to drain")
	workers := flag.Int("workers", 2000, "concurrent jobs")
	insert := flag.Bool("insert", false, "create the tables and insert the jobs, instead of running them")
	flag.Parse()
	var err error
	if *insert {
		err = fill(context.Background(), *database, *jobs)
	} else {
		err = drain(context.Background(), *database, *jobs, *workers)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func fill(ctx context.Context, database string, jobs int) error {
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		return err
	}
	defer pool.Close()
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, nil)
	if err != nil {
		return err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	client, err := river.NewClient(driver, &river.Config{})
	if err != nil {
		return err
	}
	for left := jobs; left > 0; left -= batch {
		params := make([]river.InsertManyParams, min(left, batch))
		for i := range params {
			params[i].Args = nothing{Username: fmt.Sprintf("profile-%d", left-i)}
		}
		if _, err := client.InsertManyFast(ctx, params); err != nil {
			return err
		}
	}
	return nil
}

func drain(ctx context.Context, database string, jobs, workers int) error {
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		return err
	}
	defer pool.Close()
	w := &worker{left: new(atomic.Int64), done: make(chan struct{})}
	w.left.Store(int64(jobs))
	kinds := river.NewWorkers()
	river.AddWorker(kinds, w)
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		Workers: kinds,
	})
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	<-w.done
	// Stop waits until all finished jobs are written.
	return client.Stop(ctx)
}
