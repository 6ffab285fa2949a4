namespace MLNetMultimodal.Inference.Tests;

public sealed class ZeroShotClassifierTests
{
    static readonly string[] Labels = ["cat", "dog", "bird"], Templates = ["a photo of a {}", "{}, a drawing of a {}"];

    [Fact]
    public void A_class_is_the_mean_of_its_prompts_at_length_1()
    {
        using MultimodalModel model = Tiny.Load();
        var classifier = ZeroShotClassifier.Create(model, Labels, Templates);
        Assert.Equal("dog, a drawing of a dog", classifier.Prompts[3]);
        float[][] prompts = model.EmbedTexts(classifier.Prompts);
        for (int label = 0; label < Labels.Length; label++)
        {
            double[] mean = [.. Enumerable.Range(0, model.EmbeddingWidth).Select(d => (double)prompts[2 * label][d] + prompts[2 * label + 1][d])];
            double length = Math.Sqrt(mean.Sum(v => v * v));
            Difference.Small([.. mean.Select(v => (float)(v / length))], classifier.ClassEmbeddings[label].Span, 1e-6f);
        }
    }

    [Fact]
    public void Probabilities_are_the_softmax_of_scaled_cosines_whatever_the_length_of_the_embedding()
    {
        var classifier = ZeroShotClassifier.FromEmbeddings(["a", "b"], ["{}"], [new float[] { 2, 0 }, new float[] { 0, 0.5f }], logitScale: 3);
        double expected = 1 / (1 + Math.Exp(3 * (0.8 - 0.6)));
        float[] probabilities = classifier.Probabilities([3, 4]);
        Assert.Equal(expected, probabilities[0], 1e-6);
        Assert.Equal(1 - expected, probabilities[1], 1e-6);
        Difference.Small(probabilities, classifier.Probabilities([0.3f, 0.4f]), 1e-6f);
    }

    [Fact]
    public void A_large_scale_does_not_overflow()
    {
        var classifier = ZeroShotClassifier.FromEmbeddings(["a", "b"], ["{}"], [new float[] { 1, 0 }, new float[] { -1, 0 }], logitScale: 1e4f);
        Assert.Equal([1f, 0f], classifier.Probabilities([1, 0]));
    }

    [Fact]
    public void Stored_class_embeddings_make_the_same_classifier()
    {
        using MultimodalModel model = Tiny.Load();
        var made = ZeroShotClassifier.Create(model, Labels, Templates);
        var again = ZeroShotClassifier.FromEmbeddings(made.Labels, made.Templates, made.ClassEmbeddings, made.LogitScale);
        float[] embedding = model.EmbedImages([Tiny.Picture(1)])[0];
        Difference.Small(made.Probabilities(embedding), again.Probabilities(embedding), 1e-6f);
    }

    public static TheoryData<string[], string[], string> Wrong => new()
    {
        { [], ["{}"], "at least one" },
        { ["a", " "], ["{}"], "must not be empty" },
        { ["a", "b", "a"], ["{}"], "'a' is there twice" },
        { ["a"], [], "at least one" },
        { ["a"], ["a photo"], "'a photo' does not" },
    };

    [Theory, MemberData(nameof(Wrong))]
    public void Senseless_labels_and_templates_are_refused(string[] labels, string[] templates, string message) => Assert.Contains(message,
        Assert.Throws<ArgumentException>(() => ZeroShotClassifier.FromEmbeddings(labels, templates, [.. labels.Select(_ => (ReadOnlyMemory<float>)new float[2])], 1)).Message);

    [Fact]
    public void Embeddings_of_another_width_are_refused()
    {
        var classifier = ZeroShotClassifier.FromEmbeddings(["a"], ["{}"], [new float[] { 1, 0 }], 1);
        Assert.Contains("must have 2 values, but has 3", Assert.Throws<ArgumentException>(() => classifier.Probabilities(new float[3])).Message);
        Assert.Throws<ArgumentException>(() => ZeroShotClassifier.FromEmbeddings(["a", "b"], ["{}"], [new float[2], new float[3]], 1));
    }
}
