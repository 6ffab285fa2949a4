namespace MLNetMultimodal.Transforms;

/// <summary>From evidence to a probability: 1 / (1 + exp(-(weights · evidence + bias))) (Platt 1999, "Probabilistic outputs for support
/// vector machines"), of one piece of evidence or several.</summary>
/// <param name="Weights">One for each piece of evidence.</param>
/// <param name="Bias">Its logit where all evidence is 0.</param>
sealed record PlattScaling(float[] Weights, float Bias)
{
    const int MaxIterations = 100;

    /// <summary>The logit of the probability.</summary>
    public float Logit(ReadOnlySpan<float> evidence) => Bias + System.Numerics.Tensors.TensorPrimitives.Dot(Weights, evidence);

    /// <summary>Fits to labelled evidence by Newton's method, with Platt's targets in place of 0 and 1, which keep the weights finite
    /// where the classes can be told apart; a step that makes it worse is halved (Lin, Lin and Weng 2007).</summary>
    /// <param name="evidence">[rows][pieces].</param>
    /// <param name="labels">Yes or no for each row; both occur.</param>
    public static PlattScaling Fit(IReadOnlyList<float[]> evidence, IReadOnlyList<bool> labels)
    {
        int pieces = evidence[0].Length, yes = labels.Count(l => l), no = labels.Count - yes;
        double[] mean = new double[pieces], scale = new double[pieces];
        for (int i = 0; i < pieces; i++)
        {
            mean[i] = evidence.Average(e => (double)e[i]);
            double variance = evidence.Average(e => (e[i] - mean[i]) * (e[i] - mean[i]));
            scale[i] = variance > 1e-12 ? Math.Sqrt(variance) : 1; // evidence that is always the same gets no weight
        }
        double[][] rows = [.. evidence.Select(e => (double[])[.. e.Select((v, i) => (v - mean[i]) / scale[i]), 1])];
        double[] targets = [.. labels.Select(l => l ? (yes + 1.0) / (yes + 2) : 1.0 / (no + 2))];
        double[] w = new double[pieces + 1];
        w[pieces] = Math.Log((yes + 1.0) / (no + 1));
        double loss = Loss(rows, targets, w);
        for (int iteration = 0; iteration < MaxIterations; iteration++)
        {
            double[] step = NewtonStep(rows, targets, w, out double size);
            if (size < 1e-8) break;
            double part = 1, next;
            double[] tried;
            do
            {
                tried = [.. w.Zip(step, (v, s) => v - part * s)];
                next = Loss(rows, targets, tried);
                part /= 2;
            }
            while (next > loss && part > 1e-10);
            if (next > loss) break;
            (w, loss) = (tried, next);
        }
        double bias = w[pieces];
        for (int i = 0; i < pieces; i++) bias -= w[i] * mean[i] / scale[i];
        return new([.. Enumerable.Range(0, pieces).Select(i => (float)(w[i] / scale[i]))], (float)bias);
    }

    static double Dot(double[] row, double[] w) => row.Zip(w, (a, b) => a * b).Sum();

    /// <summary>Cross entropy, in a form that does not overflow.</summary>
    static double Loss(double[][] rows, double[] targets, double[] w) => rows.Zip(targets, (row, t) =>
    {
        double z = Dot(row, w);
        return Math.Max(z, 0) - t * z + Math.Log(1 + Math.Exp(-Math.Abs(z)));
    }).Sum();

    /// <summary>The inverse of the Hessian times the gradient.</summary>
    static double[] NewtonStep(double[][] rows, double[] targets, double[] w, out double size)
    {
        int n = w.Length;
        var gradient = new double[n];
        var hessian = new double[n, n];
        for (int r = 0; r < rows.Length; r++)
        {
            double p = 1 / (1 + Math.Exp(-Dot(rows[r], w))), slope = p * (1 - p);
            for (int i = 0; i < n; i++)
            {
                gradient[i] += (p - targets[r]) * rows[r][i];
                for (int j = 0; j < n; j++) hessian[i, j] += slope * rows[r][i] * rows[r][j];
            }
        }
        for (int i = 0; i < n; i++) hessian[i, i] += 1e-9 * (1 + rows.Length); // pieces that say the same
        size = gradient.Max(Math.Abs) / rows.Length;
        return Solve(hessian, gradient);
    }

    /// <summary>Gaussian elimination of a positive definite matrix.</summary>
    static double[] Solve(double[,] a, double[] b)
    {
        int n = b.Length;
        double[] x = [.. b];
        for (int k = 0; k < n; k++)
            for (int i = k + 1; i < n; i++)
            {
                double factor = a[i, k] / a[k, k];
                for (int j = k; j < n; j++) a[i, j] -= factor * a[k, j];
                x[i] -= factor * x[k];
            }
        for (int i = n - 1; i >= 0; i--)
        {
            for (int j = i + 1; j < n; j++) x[i] -= a[i, j] * x[j];
            x[i] /= a[i, i];
        }
        return x;
    }
}
