using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Metrics;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="LinearProbeEvaluation.EvaluateLinearProbe"/>.</summary>
public sealed record LinearProbeOptions
{
    /// <summary>Column of features, Vector&lt;Single, D&gt;; default <c>Embedding</c>. With <see cref="Image"/> it is made by the
    /// model.</summary>
    public string Features { get; init => field = Checked.Name(value); } = "Embedding";

    /// <summary>Column of the class: text, a key with text key values, or a whole number; default <c>Label</c>. Classes are
    /// compared by name.</summary>
    public string Label { get; init => field = Checked.Name(value); } = "Label";

    /// <summary>Column of pictures to embed first; null, the default, where <see cref="Features"/> is there already. To probe one
    /// model several times, embed and cache once instead.</summary>
    public string? Image { get; init => field = Checked.NameOrNull(value); }

    /// <summary>The model folder for <see cref="Image"/>, in the Hugging Face layout.</summary>
    public string? Model { get; init; }

    /// <summary>A model that was loaded elsewhere, in place of a folder; it stays open.</summary>
    public MultimodalModel? LoadedModel { get; init; }

    /// <summary>k, labelled rows of each class that the probe may learn and choose from, at least 1; null, the default, for all.
    /// The usual ones are 1, 2, 4, 8 and 16.</summary>
    public int? ShotsPerClass
    {
        get;
        init => field = value is null or >= 1 ? value
            : throw new ArgumentOutOfRangeException(nameof(ShotsPerClass), value, "ShotsPerClass must be at least 1.");
    }

    /// <summary>One run for each: it says which rows are the k of a class, and which are held out for the sweep. Distinct; none,
    /// the default, for 1, 2, 3 with <see cref="ShotsPerClass"/> and 1 with all rows.</summary>
    public IReadOnlyList<int> Seeds
    {
        get;
        init => field = value.Distinct().Count() == value.Count ? value
            : throw new ArgumentException("Seeds must be distinct; one run says as much as two of the same seed.", nameof(Seeds));
    } = [];

    /// <summary>Lambda, the strength of the L2 penalty: the probe minimises the sum of the rows' cross entropies plus
    /// lambda / 2 * |weights|^2, biases excepted (scikit-learn's C is 1 / lambda); above 0. Null, the default, sweeps 1e-6 to
    /// 1e6; where no class has two rows there is nothing to sweep with, and it is 1.</summary>
    public double? L2
    {
        get;
        init => field = value is null or (> 0 and < double.PositiveInfinity) ? value
            : throw new ArgumentOutOfRangeException(nameof(L2), value, "L2 must be above 0 and finite.");
    }

    /// <summary>Part of each class's rows that the sweep measures on, above 0 and below 1; default 0.2. Of two rows or more
    /// at least one is held out and at least one learned from. The final probe learns from both parts.</summary>
    public double ValidationShare
    {
        get;
        init => field = value is > 0 and < 1 ? value
            : throw new ArgumentOutOfRangeException(
                nameof(ValidationShare), value, "ValidationShare must be above 0 and below 1.");
    } = 0.2;

    /// <summary>True: features are brought to length 1 first, as LAION's CLIP_benchmark does. Default false: they are taken as
    /// they are; those of <c>MultimodalEmbed</c> have length 1.</summary>
    public bool UnitLength { get; init; }

    /// <summary>The most iterations of L-BFGS, at least 1; default 1,000. It ends earlier where the objective hardly falls any
    /// more.</summary>
    public int MaxIterations
    {
        get;
        init => field = value >= 1 ? value
            : throw new ArgumentOutOfRangeException(nameof(MaxIterations), value, "MaxIterations must be at least 1.");
    } = 1000;

    internal IReadOnlyList<int> SeedsOrDefault => Seeds.Count > 0 ? Seeds : ShotsPerClass is null ? [1] : [1, 2, 3];

    internal void Validate()
    {
        if (Image is null && (Model is not null || LoadedModel is not null))
            throw new ArgumentException("a model is given, but not Image: the column that it embeds.");
    }
}

/// <summary>Adds the metric to <see cref="MultimodalCatalog"/>.</summary>
public static class LinearProbeEvaluation
{
    extension(MultimodalCatalog catalog)
    {
        /// <summary>How well a linear classifier on frozen features tells the classes apart: logistic regression by ML.NET's
        /// L-BFGS, with the strength of its L2 penalty chosen on rows held out from training (Radford et al. 2021,
        /// arXiv:2103.00020, appendix A.3: seven strengths from 1e-6 to 1e6, then halved intervals around the best to eight steps
        /// a decade; of equal accuracies the one with the lower cross entropy). With
        /// <see cref="LinearProbeOptions.ShotsPerClass"/>, few-shot: k rows of each class are drawn by the seed, and nothing else
        /// of the training data is used. Rows are drawn by their ids, so a shuffled view gives the same result. Both views are
        /// read once, and held in memory. A sweep fits about 15 probes: with tens of thousands of rows it takes many minutes.</summary>
        /// <param name="train">Rows to learn from.</param>
        /// <param name="test">Other rows, to measure on.</param>
        /// <param name="options">Columns and protocol; null for the defaults.</param>
        /// <exception cref="ArgumentException">A column is missing or of the wrong type, the two views' features have different
        /// widths, or a class has fewer rows than <see cref="LinearProbeOptions.ShotsPerClass"/>.</exception>
        /// <exception cref="InvalidDataException">A test row's label does not occur in training (the message names the row), or
        /// there are fewer than two classes.</exception>
        public LinearProbeMetrics EvaluateLinearProbe(IDataView train, IDataView test, LinearProbeOptions? options = null)
        {
            ArgumentNullException.ThrowIfNull(catalog);
            ArgumentNullException.ThrowIfNull(train);
            ArgumentNullException.ThrowIfNull(test);
            options ??= new();
            options.Validate();
            if (options.Image is null) return Evaluate(train, test, options);
            var ml = new MLContext();
            using MultimodalTransformer embed = ml.Transforms.MultimodalEmbed(new()
            {
                Image = options.Image,
                Output = options.Features,
                Model = options.Model,
                LoadedModel = options.LoadedModel,
            }).Fit(train);
            return Evaluate(embed.Transform(train), embed.Transform(test), options);
        }
    }

    static LinearProbeMetrics Evaluate(IDataView train, IDataView test, LinearProbeOptions options)
    {
        LabelledFeatures learned = LabelledFeatures.Read(train, options, known: null),
            measured = LabelledFeatures.Read(test, options, learned.Classes);
        if (learned.Width != measured.Width)
            throw new ArgumentException(
                $"column '{options.Features}' has {learned.Width} values in training, but {measured.Width} in the test data.");
        if (learned.Classes.Count < 2)
            throw new InvalidDataException(
                $"training has {learned.Classes.Count} classes with features; a probe needs at least two.");
        var counter = new ClassCounter(learned.Classes.Count);
        var runs = new List<LinearProbeRun>();
        foreach (int seed in options.SeedsOrDefault)
        {
            LabelledRow[] rows = learned.Draw(options.ShotsPerClass, seed);
            var fitter = new ProbeFitter(learned.Width, learned.Classes, options, seed);
            (double l2, double? validation) = options.L2 is { } fixedL2 ? (fixedL2, null) : fitter.Sweep(rows);
            var own = new ClassCounter(learned.Classes.Count);
            foreach ((LabelledRow row, float[] scores) in measured.Rows.Zip(fitter.Score(rows, l2, measured.Rows)))
            {
                own.Add(row.Label, scores);
                counter.Add(row.Label, scores);
            }
            runs.Add(new(seed, rows.Length, l2, validation, own.Top1, learned.Classes.Count > 5 ? own.Top5 : null));
        }
        return new(learned.Model, options.Features, options.ShotsPerClass, runs, counter.MacroAccuracy,
            new(learned.Rows.Count, learned.Missing, learned.Unlabelled),
            new(measured.Rows.Count, measured.Missing, measured.Unlabelled), counter.Classes(learned.Classes), counter.Confusion);
    }
}
