using System.Numerics.Tensors;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Trainers;
using MLNetMultimodal.Data;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Metrics;

/// <summary>Logistic regression on rows in memory.</summary>
sealed class ProbeFitter(int width, IReadOnlyList<string> classes, LinearProbeOptions options, int seed)
{
    const string Label = "Label", Features = "Features";
    const double StrengthWithoutSweep = 1; // scikit-learn's default
    const int Decades = 6, FinestPart = 8; // 1e-6 to 1e6, at last in eighths of a decade

    /// <summary>The strength of the L2 penalty that is best on held-out rows.</summary>
    /// <returns>It, and the held-out accuracy; null where no class has two rows, so that none can be held out.</returns>
    public (double L2, double? Accuracy) Sweep(LabelledRow[] rows)
    {
        (LabelledRow[] held, LabelledRow[] fit) = LabelledFeatures.TakePerClass(rows,
            (_, n) => n < 2 ? 0 : Math.Clamp((int)Math.Round(n * options.ValidationShare), 1, n - 1));
        if (held.Length == 0) return (StrengthWithoutSweep, null);
        var tried = new Dictionary<int, (double Accuracy, double Loss)>(); // by the exponent of 10, in eighths
        void Try(params int[] eighths)
        {
            int[] open = [.. eighths.Where(e => Math.Abs(e) <= Decades * FinestPart && !tried.ContainsKey(e))];
            var results = new (double, double)[open.Length];
            Parallel.For(0, open.Length, i => results[i] = Measure(held, Score(fit, Strength(open[i]), held)));
            for (int i = 0; i < open.Length; i++) tried.Add(open[i], results[i]);
        }
        int Best() =>
            tried.OrderByDescending(t => t.Value.Accuracy).ThenBy(t => t.Value.Loss).ThenByDescending(t => t.Key).First().Key;

        int step = 2 * FinestPart;
        Try([.. Enumerable.Range(-Decades / 2, Decades + 1).Select(i => i * step)]);
        while (step > 1)
        {
            step /= 2;
            int best = Best();
            Try(best - step, best + step);
        }
        return (Strength(Best()), tried[Best()].Accuracy);
    }

    /// <summary>Fits on some rows and scores others.</summary>
    /// <returns>A probability per class for each row; NaN for one without features.</returns>
    public IReadOnlyList<float[]> Score(IReadOnlyList<LabelledRow> rows, double l2, IReadOnlyList<LabelledRow> others)
    {
        (float[][] weights, float[] biases) = Fit(rows, l2);
        var scores = new float[others.Count][];
        for (int i = 0; i < scores.Length; i++)
            scores[i] = others[i].Features is { } x ? Probabilities(weights, biases, x) : [.. biases.Select(_ => float.NaN)];
        return scores;
    }

    /// <returns>Weights [classes][D] and biases [classes].</returns>
    public (float[][] Weights, float[] Biases) Fit(IReadOnlyList<LabelledRow> rows, double l2)
    {
        var view = new RowsDataView(rows.Count,
        [
            new(Features, new VectorDataViewType(NumberDataViewType.Single, width), row =>
                (ValueGetter<VBuffer<float>>)((ref VBuffer<float> value) =>
                    Columns.Fill<float>(ref value, rows[row()].Features))),
            RowsDataView.Key(Label, classes, row => rows[row].Label),
        ]);
        // An environment of its own, one thread, a start from zeros: the same bits every time.
        MaximumEntropyModelParameters model = new MLContext(seed).MulticlassClassification.Trainers.LbfgsMaximumEntropy(
            new LbfgsMaximumEntropyMulticlassTrainer.Options
            {
                LabelColumnName = Label,
                FeatureColumnName = Features,
                L1Regularization = 0,
                L2Regularization = (float)l2,
                MaximumNumberOfIterations = options.MaxIterations,
                NumberOfThreads = 1,
            }).Fit(view).Model;
        VBuffer<float>[] weights = [];
        model.GetWeights(ref weights, out _);
        return ([.. weights.Select(w => w.DenseValues().ToArray())], [.. model.GetBiases()]);
    }

    static float[] Probabilities(float[][] weights, float[] biases, float[] x)
    {
        float[] logits = [.. weights.Select((w, i) => TensorPrimitives.Dot<float>(w, x) + biases[i])];
        TensorPrimitives.Subtract(logits, TensorPrimitives.Max<float>(logits), logits); // so that no exponential overflows
        TensorPrimitives.SoftMax<float>(logits, logits);
        return logits;
    }

    (double Accuracy, double Loss) Measure(IReadOnlyList<LabelledRow> rows, IReadOnlyList<float[]> scores)
    {
        var counter = new ClassCounter(classes.Count);
        double loss = 0;
        for (int i = 0; i < rows.Count; i++)
        {
            counter.Add(rows[i].Label, scores[i]);
            loss -= Math.Log(Math.Max(scores[i][rows[i].Label], float.Epsilon));
        }
        return (counter.Top1, loss / rows.Count);
    }

    static double Strength(int eighths) => Math.Pow(10, eighths / (double)FinestPart);
}
