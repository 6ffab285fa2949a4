namespace MLNetMultimodal.Inference.Tests;

public sealed class ZeroShotPromptsTests : IDisposable
{
    readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("prompts-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public void Both_files_are_read_and_both_places_for_the_class_are_one()
    {
        Write(" cat \n\ntabby cat\r\n", "a photo of a {c}.\n{} and {c}\n");
        ZeroShotPrompts prompts = ZeroShotPrompts.Load(_folder.FullName);
        Assert.Equal(["cat", "tabby cat"], prompts.Labels);
        Assert.Equal(["a photo of a {}.", "{} and {}"], prompts.Templates);
        Assert.Equal(_folder.FullName, prompts.Source);
    }

    [Fact]
    public void Classes_may_be_missing_but_templates_may_not()
    {
        Write(null, "a {c}");
        Assert.Null(ZeroShotPrompts.Load(_folder.FullName).Labels);
        File.Delete(Path.Combine(_folder.FullName, ZeroShotPrompts.TemplatesFile));
        var error = Assert.Throws<FileNotFoundException>(() => ZeroShotPrompts.Load(_folder.FullName));
        Assert.Contains(ZeroShotPrompts.TemplatesFile, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("cat\ndog\ncat", "a {c}", "'cat' more than once")]
    [InlineData("\n", "a {c}", "classnames.txt' is empty")]
    [InlineData("cat", " \n", "templates.txt' is empty")]
    [InlineData("cat", "a {c}\na photo", "'a photo' has neither")]
    public void Unsound_files_are_refused_with_the_reason(string labels, string templates, string reason)
    {
        Write(labels, templates);
        var error = Assert.Throws<InvalidDataException>(() => ZeroShotPrompts.Load(_folder.FullName));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Some_of_the_classes_can_be_chosen_but_no_others()
    {
        Write("cat\ndog\nbird", "a {c}");
        ZeroShotPrompts chosen = ZeroShotPrompts.Load(_folder.FullName).Choose(["bird", "cat"]);
        Assert.Equal(["bird", "cat"], chosen.Labels);
        Assert.Equal((_folder.FullName, "a {}"), (chosen.Source, chosen.Templates[0]));
        string message = Assert.Throws<ArgumentException>(() => ZeroShotPrompts.Load(_folder.FullName).Choose(["cat", "zebra"])).Message;
        Assert.Contains("'zebra'", message, StringComparison.Ordinal);
        Assert.Contains("cat, dog, bird", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Prompts_of_a_program_say_so()
    {
        ZeroShotPrompts prompts = ZeroShotPrompts.Of(["cat"]);
        Assert.Equal(("options", ZeroShotPrompts.DefaultTemplate), (prompts.Source, Assert.Single(prompts.Templates)));
        Assert.Equal(["dog"], ZeroShotPrompts.Of(null, ["the {}"]).Choose(["dog"]).Labels);
    }

    void Write(string? labels, string templates)
    {
        if (labels is not null) File.WriteAllText(Path.Combine(_folder.FullName, ZeroShotPrompts.LabelsFile), labels);
        File.WriteAllText(Path.Combine(_folder.FullName, ZeroShotPrompts.TemplatesFile), templates);
    }
}
