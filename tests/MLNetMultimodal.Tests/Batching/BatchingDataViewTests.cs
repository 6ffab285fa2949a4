using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Batching;

namespace MLNetMultimodal.Tests.Batching;

public sealed class BatchingDataViewTests
{
    readonly MLContext _ml = new(1);

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(8)]
    [InlineData(1000)]
    public void Rows_come_in_order_with_position_and_id(int rows)
    {
        IDataView view = View(rows, out _);
        using DataViewRowCursor cursor = view.GetRowCursor(view.Schema);
        var x = cursor.GetGetter<float>(view.Schema["X"]);
        var y = cursor.GetGetter<float>(view.Schema["Y"]);
        var id = cursor.GetIdGetter();
        Assert.Equal(-1, cursor.Position);
        var ids = new HashSet<DataViewRowId>();
        for (int i = 0; i < rows; i++)
        {
            Assert.True(cursor.MoveNext());
            Assert.Equal(i, cursor.Position);
            float a = 0, b = 0;
            DataViewRowId rowId = default;
            x(ref a);
            y(ref b);
            id(ref rowId);
            Assert.Equal((i, (float)i * i), (a, b));
            Assert.True(ids.Add(rowId));
        }
        Assert.False(cursor.MoveNext());
        Assert.False(cursor.MoveNext());
        Assert.Equal(-1, cursor.Position);
    }

    [Fact]
    public void Nothing_is_computed_for_columns_of_the_source()
    {
        IDataView view = View(100, out Square square);
        Assert.Equal(100, view.GetColumn<float>("X").Count());
        Assert.Equal(0, square.Runs);
    }

    [Fact]
    public void Nothing_is_computed_for_rows_that_are_skipped()
    {
        IDataView view = View(100, out Square square);
        using DataViewRowCursor cursor = view.GetRowCursor(view.Schema);
        var y = cursor.GetGetter<float>(view.Schema["Y"]);
        for (int i = 0; i < 91; i++) Assert.True(cursor.MoveNext());
        Assert.Equal(0, square.Runs);
        float value = 0;
        y(ref value);
        Assert.Equal(90 * 90, value);
    }

    [Fact]
    public void Few_rows_are_read_ahead()
    {
        int read = 0;
        IDataView source = _ml.Data.LoadFromEnumerable(Enumerable.Range(0, 100_000).Select(i =>
        {
            Interlocked.Increment(ref read);
            return new XRow { X = i };
        }));
        var view = new BatchingDataView<Square.Batch>(new Square(), source);
        using (DataViewRowCursor cursor = view.GetRowCursor(view.Schema))
        {
            var y = cursor.GetGetter<float>(view.Schema["Y"]);
            float value = 0;
            for (int i = 0; i < 5; i++)
            {
                Assert.True(cursor.MoveNext());
                y(ref value);
            }
        }
        Assert.True(read <= 3 * Square.Rows, $"{read} rows were read for the first 5");
    }

    [Fact]
    public void Several_cursors_at_once_agree()
    {
        IDataView view = View(500, out _);
        float[][] results = new float[6][];
        Parallel.For(0, results.Length, i => results[i] = [.. view.GetColumn<float>("Y")]);
        Assert.All(results, r => Assert.Equal(Enumerable.Range(0, 500).Select(i => (float)i * i), r));
    }

    [Fact]
    public void Interleaved_cursors_agree()
    {
        IDataView view = View(50, out _);
        using DataViewRowCursor first = view.GetRowCursor(view.Schema), second = view.GetRowCursor(view.Schema);
        var a = first.GetGetter<float>(view.Schema["Y"]);
        var b = second.GetGetter<float>(view.Schema["Y"]);
        Assert.True(second.MoveNext());
        while (second.MoveNext())
        {
            Assert.True(first.MoveNext());
            float x = 0, y = 0;
            a(ref x);
            b(ref y);
            Assert.Equal(Math.Sqrt(x) + 1, Math.Sqrt(y), 1e-4);
        }
    }

    [Fact]
    public void Cursor_sets_give_every_row_once()
    {
        string path = Path.GetTempFileName();
        File.WriteAllLines(path, Enumerable.Range(0, 5000).Select(i => $"{i}"));
        var view = new BatchingDataView<Square.Batch>(new Square(), _ml.Data.LoadFromTextFile<XRow>(path));
        DataViewRowCursor[] cursors = view.GetRowCursorSet(view.Schema, 4);
        var values = new List<float>();
        foreach (DataViewRowCursor cursor in cursors)
        {
            var y = cursor.GetGetter<float>(view.Schema["Y"]);
            float value = 0;
            while (cursor.MoveNext())
            {
                y(ref value);
                values.Add(value);
            }
        }
        foreach (DataViewRowCursor cursor in cursors) cursor.Dispose();
        File.Delete(path);
        Assert.Equal(Enumerable.Range(0, 5000).Select(i => (float)i * i).Order(), values.Order());
    }

    [Fact]
    public void Error_of_the_source_comes_after_the_rows_before_it()
    {
        IDataView source = _ml.Data.LoadFromEnumerable(Enumerable.Range(0, 20)
            .Select(i => i < 13 ? new XRow { X = i } : throw new IOException("the disk is gone")));
        var view = new BatchingDataView<Square.Batch>(new Square(), source);
        using DataViewRowCursor cursor = view.GetRowCursor(view.Schema);
        var y = cursor.GetGetter<float>(view.Schema["Y"]);
        float value = 0;
        for (int i = 0; i < 13; i++)
        {
            Assert.True(cursor.MoveNext());
            y(ref value);
            Assert.Equal((float)i * i, value);
        }
        Assert.Equal("the disk is gone", Assert.Throws<IOException>(() => cursor.MoveNext()).Message);
        Assert.False(cursor.MoveNext());
    }

    [Fact]
    public void Error_of_a_run_comes_to_who_asks_for_a_value_of_its_batch()
    {
        IDataView view = View(3 * Square.Rows, out Square square);
        square.FailAt = 2 * Square.Rows;
        using DataViewRowCursor cursor = view.GetRowCursor(view.Schema);
        var y = cursor.GetGetter<float>(view.Schema["Y"]);
        float value = 0;
        for (int i = 0; i < 2 * Square.Rows; i++)
        {
            Assert.True(cursor.MoveNext());
            y(ref value);
        }
        Assert.True(cursor.MoveNext());
        Assert.Throws<InvalidOperationException>(() => y(ref value));
        Assert.Throws<InvalidOperationException>(() => y(ref value));
        Assert.Equal(Square.Rows, square.Abandoned);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Rows_that_take_different_times_come_in_order(int seed)
    {
        IDataView view = View(300, out Square square);
        square.Delay = new Random(seed);
        Assert.Equal(Enumerable.Range(0, 300).Select(i => (float)i * i), view.GetColumn<float>("Y"));
        Assert.Equal((300 + Square.Rows - 1) / Square.Rows, square.Runs);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(50)]
    public void Pass_that_ends_early_stops_the_work(int rows)
    {
        IDataView view = View(100_000, out Square square);
        square.Delay = new Random(1);
        using (DataViewRowCursor cursor = view.GetRowCursor(view.Schema))
        {
            var y = cursor.GetGetter<float>(view.Schema["Y"]);
            float value = 0;
            for (int i = 0; i < rows; i++)
            {
                Assert.True(cursor.MoveNext());
                y(ref value);
            }
        }
        int runs = square.Runs, active = square.Active;
        Assert.Equal(0, active);
        Assert.True(runs <= rows / Square.Rows + 1 + BatchWorkers<Square.Batch>.Ahead,
            $"{runs} batches were computed for {rows} rows");
    }

    [Fact]
    public void No_more_threads_work_than_there_are_cores_and_the_one_that_waits()
    {
        IDataView view = View(500, out Square square);
        square.Delay = new Random(1);
        Assert.Equal(500, view.GetColumn<float>("Y").Count());
        Assert.InRange(square.MostActive, 1, Environment.ProcessorCount + 1);
    }

    [Fact]
    public void Values_after_skipped_rows_are_right()
    {
        IDataView view = View(500, out Square square);
        using DataViewRowCursor cursor = view.GetRowCursor(view.Schema);
        var y = cursor.GetGetter<float>(view.Schema["Y"]);
        var random = new Random(3);
        float value = 0;
        for (int row = 0; row < 500; row++)
        {
            Assert.True(cursor.MoveNext());
            if (random.Next(40) > 0) continue;
            y(ref value);
            Assert.Equal((float)row * row, value);
        }
        Assert.False(cursor.MoveNext());
        Assert.True(square.Abandoned > 0);
    }

    [Fact]
    public void Error_of_preparing_comes_to_who_asks_for_a_value_of_its_batch()
    {
        IDataView view = View(3 * Square.Rows, out Square square);
        square.FailPreparing = Square.Rows + 1;
        using DataViewRowCursor cursor = view.GetRowCursor(view.Schema);
        var y = cursor.GetGetter<float>(view.Schema["Y"]);
        float value = 0;
        for (int i = 0; i < 3 * Square.Rows; i++)
        {
            Assert.True(cursor.MoveNext());
            if (i / Square.Rows == 1) Assert.Throws<FormatException>(() => y(ref value));
            else y(ref value);
        }
        Assert.Equal(23 * 23, value);
        Assert.Equal(Square.Rows, square.Abandoned);
    }

    [Fact]
    public void Inactive_column_is_refused()
    {
        IDataView view = View(3, out _);
        using DataViewRowCursor cursor = view.GetRowCursor([view.Schema["X"]]);
        Assert.Throws<ArgumentException>(() => cursor.GetGetter<float>(view.Schema["Y"]));
    }

    [Fact]
    public void Wrong_type_is_refused_by_name()
    {
        IDataView view = View(3, out _);
        using DataViewRowCursor cursor = view.GetRowCursor(view.Schema);
        Assert.Contains("'Y'", Assert.Throws<InvalidOperationException>(() => cursor.GetGetter<double>(view.Schema["Y"]))
            .Message);
    }

    [Fact]
    public void Vectors_and_images_are_handed_out_as_copies()
    {
        byte[] pixels = [.. Enumerable.Range(0, 16).Select(i => (byte)i)];
        using MLImage image = MLImage.CreateFromPixels(2, 2, MLPixelFormat.Rgba32, pixels);
        IDataView source = _ml.Data.LoadFromEnumerable(Enumerable.Range(0, 10)
            .Select(i => new ImageRow { X = i, Image = image, Vector = [i, i + 1] }));
        var view = new BatchingDataView<Square.Batch>(new Square(), source);
        for (int pass = 0; pass < 2; pass++)
        {
            using DataViewRowCursor cursor = view.GetRowCursor(view.Schema);
            var images = cursor.GetGetter<MLImage>(view.Schema["Image"]);
            var vectors = cursor.GetGetter<VBuffer<float>>(view.Schema["Vector"]);
            Assert.True(cursor.MoveNext());
            MLImage copy = null!;
            VBuffer<float> vector = default;
            images(ref copy);
            vectors(ref vector);
            copy.Dispose();
            VBufferEditor.CreateFromBuffer(ref vector).Values.Fill(-1);
            VBuffer<float> again = default;
            vectors(ref again);
            Assert.Equal([0, 1], again.DenseValues());
            Assert.Equal(pixels, image.Pixels.ToArray());
        }
    }

    IDataView View(int rows, out Square square)
    {
        square = new();
        return new BatchingDataView<Square.Batch>(square,
            _ml.Data.LoadFromEnumerable(Enumerable.Range(0, rows).Select(i => new XRow { X = i }).ToArray()));
    }

    sealed class XRow
    {
        [LoadColumn(0)]
        public float X { get; set; }
    }

    sealed class ImageRow
    {
        public float X { get; set; }

        [Microsoft.ML.Transforms.Image.ImageType(2, 2)]
        public MLImage Image { get; set; } = null!;

        [VectorType(2)]
        public float[] Vector { get; set; } = [];
    }

    /// <summary>Y = X * X.</summary>
    internal sealed class Square : BatchComputation<Square.Batch>
    {
        public const int Rows = 8;

        int _runs, _active, _mostActive;

        public int Runs => _runs;

        /// <summary>Threads that prepare or run now, and the most that ever did.</summary>
        public int Active => _active;

        public int MostActive => _mostActive;

        public int Abandoned { get; private set; }

        /// <summary>Makes preparing and running take times that differ.</summary>
        public Random? Delay { get; set; }

        public float FailPreparing { get; set; } = -1;

        public long FailAt { get; set; } = -1;

        public override int BatchSize => Rows;

        public override IReadOnlyList<OutputColumn> Outputs { get; } = [new("Y", NumberDataViewType.Single)];

        public override IEnumerable<DataViewSchema.Column> Inputs(DataViewSchema input, Func<int, bool> isActive) => [input["X"]];

        public override Batch NewBatch(int rows, Func<int, bool> isActive) => new(rows);

        public override Action<Batch, int> Reader(DataViewRow input, Func<int, bool> isActive)
        {
            var x = input.GetGetter<float>(input.Schema["X"]);
            return (batch, slot) => x(ref batch.X[slot]);
        }

        public override void Prepare(Batch batch, int slot) => Work(() =>
        {
            if (batch.X[slot] == FailPreparing) throw new FormatException("no picture");
            batch.Prepared[slot] = batch.X[slot];
        });

        public override void Run(Batch batch, int count)
        {
            Interlocked.Increment(ref _runs);
            if (batch.FirstRow == FailAt) throw new InvalidOperationException("the engine failed");
            Work(() =>
            {
                for (int i = 0; i < count; i++) batch.Y[i] = batch.Prepared[i] * batch.X[i];
            });
        }

        public override void Abandon(Batch batch, int count) => Abandoned += count;

        void Work(Action action)
        {
            int active = Interlocked.Increment(ref _active);
            for (int most = _mostActive; active > most; most = _mostActive)
                Interlocked.CompareExchange(ref _mostActive, active, most);
            int milliseconds = 0;
            if (Delay is { } random)
                lock (random) milliseconds = random.Next(10) == 0 ? 3 : 0;
            if (milliseconds > 0) Thread.Sleep(milliseconds);
            try
            {
                action();
            }
            finally
            {
                Interlocked.Decrement(ref _active);
            }
        }

        public override Delegate Getter(int output, Func<(Batch Batch, int Slot)> current)
        {
            ValueGetter<float> getter = (ref float value) =>
            {
                var (batch, slot) = current();
                value = batch.Y[slot];
            };
            return getter;
        }

        internal sealed class Batch(int rows) : RowBatch
        {
            public float[] X { get; } = new float[rows];

            public float[] Prepared { get; } = new float[rows];

            public float[] Y { get; } = new float[rows];
        }
    }
}
